"""What the numbers must be, in integers."""

if __name__ != "selvage.golden":
    raise ImportError("this room is imported as selvage.golden")
