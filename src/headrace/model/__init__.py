"""The words of Headrace and its rules: plain values, no clock, no I/O, no third party but msgspec."""
