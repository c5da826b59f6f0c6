"""Rows kept by an expression over what they hold: `len_answer < 2000 and 'zh' in tags`."""
