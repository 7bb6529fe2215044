"""A simulated upstream that ships with the product, supports every dialect and can produce every fault.

It implements the vendors' wire formats independently of `gateway.dialects`, so that it can test them.
"""
