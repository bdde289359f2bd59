"""Facts only: PASS, WARN or FAIL per check; exit 1 on FAIL."""

from anvil.deploys import doctor

doctor.printed()
