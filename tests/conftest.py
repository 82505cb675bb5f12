"""What every lane shares: in continuous integration the same examples are drawn at each run; elsewhere new ones.

No example has a deadline: how long one takes says how busy the machine is, not whether the code is right.
"""

import os

from hypothesis import settings

settings.register_profile("clew", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "clew")
