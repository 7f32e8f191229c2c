"""A run as one HTML page that needs nothing else: `write`.

`results` gathers what is known of the test, `result_sections` and `run_sections` put it and the
run's log into words, tables and pictures, `page` and page.html make the page. What is missing is
named where it would stand.
"""

from mmagga.report.writing import write

__all__ = ["write"]
