"""Measurements that anyone can repeat: ratios within one run, since machines differ."""
