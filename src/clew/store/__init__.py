"""In-memory tables with revisions, indexes and changes-since. Knows no kind."""
