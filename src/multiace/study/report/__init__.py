"""The report of a study: one HTML file, and its tables as Markdown, LaTeX and CSV."""
