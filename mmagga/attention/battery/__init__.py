"""The battery: does the attention avoid occluders, and does that matter?"""
