"""Words that every room shares: values, the clock, addresses, errors. Imports nothing of Clew."""
