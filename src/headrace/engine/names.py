"""Names for runs that were given none: two words that a person can say and remember."""

from __future__ import annotations

_HOW = (
    "agile amber ample ardent azure balmy bold brave breezy bright brisk calm candid cedar cheery civil clear "
    "clever coral cosmic crisp daring deft eager early earnest easy fabled fair fleet fond frank fresh gallant "
    "gentle gilded glad golden grand happy hardy hazel hearty honest humble ivory jade jolly jovial keen kind "
    "lively loyal lucid lucky lunar mellow merry mighty misty modest noble olive opal patient placid polite "
    "proud quick quiet rapid ready robust rosy rustic sage scarlet serene sharp silent silver sleek smart snug "
    "solar solid spry stable steady stoic sunny swift tidy tranquil trusty upbeat velvet vivid warm wily wise witty zesty"
).split()
_WHO = (
    "alder aspen badger beaver birch bison brook canyon carp cedar cliff comet coral crane creek curlew delta dipper "
    "dolphin dune eagle egret elm ember falcon fern finch fjord flume forest fox gannet geyser glacier glade gorge grouse "
    "gull harbor hare harrier heron hill ibis inlet island juniper kestrel kite lagoon lake lark linnet lynx maple "
    "marmot marsh marten meadow mesa moor moose moraine moss oak ocean orca osprey otter owl oxbow peak pebble perch petrel "
    "pike pine plover pond poplar prairie puffin quail rapids raven reed reef ridge river robin salmon sandbar shoal "
    "shore sluice sparrow spring spruce stoat stork stream summit swallow swan tarn teal tern thrush tide trout "
    "turbine valley vale vole weir willow wren"
).split()


def run_name(bits: int) -> str:
    """Return a name such as ``brisk-otter`` picked by a random number."""
    who, how = divmod(bits, len(_HOW))
    return f"{_HOW[how]}-{_WHO[who % len(_WHO)]}"
