"""How fast this code is against what people use instead: only ratios, from alternating rounds on one machine."""
