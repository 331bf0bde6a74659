"""Takes journals in: each byte once, whatever is sent twice, late, cut anywhere or made up."""

from .deliveries import Deliveries as Deliveries
from .delivery import Taken as Taken
from .delivery import append as append
from .life import presume_lost as presume_lost
from .life import sign_of_life as sign_of_life
