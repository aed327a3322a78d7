"""Do they agree, where not, and why?"""
