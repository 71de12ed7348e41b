"""Reading lines: sources, scan, merge, coverage, reports. Meets the writer only in the contract."""
