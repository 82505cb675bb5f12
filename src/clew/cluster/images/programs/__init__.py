"""Programs that run inside stand-ins, with nothing but Python's own library (an isolated interpreter, no site).

They are copied into the stand-ins as files; nothing of Clew is importable there, and nothing here imports Clew.
"""
