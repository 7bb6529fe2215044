"""An upstream that ships with the product, speaks every dialect and acts out every fault.

It is written from the vendors' wire formats and not from `gateway.dialects`, so that it can bear witness for them.
"""
