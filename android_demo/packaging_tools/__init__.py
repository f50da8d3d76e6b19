"""What pack.py needs beside Debian's tools."""
