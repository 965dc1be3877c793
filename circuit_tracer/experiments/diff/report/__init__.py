"""What is made of a report: tables, the page, the terminal; figures."""
