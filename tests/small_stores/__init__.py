"""Small stores that the program itself makes, for the tests of everything that reads one.

Each is made once in a test session, by the command line, and shared by all of the session's workers.
"""
