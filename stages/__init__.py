"""Hold the recipes of the three stages and of the commands around them."""
