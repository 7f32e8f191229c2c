"""The browser of notebook 5: see what a network looks at, change it, and see what that changes."""

from mmagga.browser.widget import AttentionBrowser

__all__ = ["AttentionBrowser"]
