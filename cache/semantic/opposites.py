"""Words whose exchange turns a question into another one."""

from __future__ import annotations

_PAIRS = """
increase decrease|increase reduce|raise lower|rise fall|enable disable|activate deactivate|allow deny|allow forbid|
allow prevent|allow block|permit forbid|accept reject|accept decline|approve reject|approve deny|open close|start stop|
start end|start finish|begin end|begin finish|first last|before after|earlier later|early late|old new|older newer|
oldest newest|buy sell|purchase sell|import export|upload download|send receive|push pull|give take|lend borrow|
add remove|add delete|insert delete|create delete|create destroy|attach detach|install uninstall|mount unmount|
lock unlock|encrypt decrypt|encode decode|compress decompress|zip unzip|load unload|save discard|save delete|save spend|
connect disconnect|join leave|enter exit|enter leave|arrive depart|arrival departure|login logout|show hide|
display hide|expand collapse|include exclude|merge split|join split|combine separate|multiply divide|add subtract|
plus minus|positive negative|maximum minimum|max min|maximal minimal|maximize minimize|most least|more less|more fewer|
many few|much little|high low|higher lower|highest lowest|big small|bigger smaller|biggest smallest|large small|
larger smaller|largest smallest|long short|longer shorter|longest shortest|tall short|wide narrow|thick thin|
heavy light|fast slow|faster slower|fastest slowest|quick slow|hot cold|warm cool|hotter colder|warmer cooler|wet dry|
hard soft|hard easy|difficult easy|difficult simple|complex simple|strong weak|safe dangerous|safe unsafe|good bad|
better worse|best worst|right wrong|right left|correct incorrect|true false|yes no|on off|up down|in out|inside outside|
indoor outdoor|indoors outdoors|above below|over under|top bottom|upper lower|front back|forward backward|
ascending descending|horizontal vertical|north south|east west|northern southern|eastern western|day night|
morning evening|summer winter|spring autumn|weekday weekend|male female|man woman|men women|boy girl|husband wife|
mother father|son daughter|brother sister|parent child|buyer seller|teacher student|employer employee|
lender borrower|sender receiver|sender recipient|source destination|source target|input output|client server|
producer consumer|read write|readable writable|public private|internal external|local remote|local global|
online offline|synchronous asynchronous|sync async|static dynamic|manual automatic|manually automatically|
serial parallel|single multiple|single double|single married|one-way return|primary secondary|major minor|
senior junior|legal illegal|mandatory optional|required optional|free paid|cheap expensive|cheaper costlier|
cheapest dearest|income expense|profit loss|gain loss|gain lose|win lose|winner loser|credit debit|deposit withdraw|
deposit withdrawal|asset liability|gross net|wholesale retail|rent buy|lease buy|tenant landlord|pass fail|
success failure|succeed fail|full empty|fill empty|alive dead|birth death|born died|young old|younger older|
same different|similar different|equal unequal|odd even|always never|often rarely|frequently rarely|all none|
everything nothing|everyone nobody|with without|for against|pro con|advantage disadvantage|advantages disadvantages|
benefit drawback|benefits drawbacks|benefit risk|benefits risks|pros cons|strength weakness|strengths weaknesses|
cause prevent|cause cure|help harm|healthy unhealthy|happy sad|love hate|like dislike|agree disagree|trust distrust|
domestic international|domestic foreign|national international|civil criminal|acid base|acidic alkaline|
solid liquid|liquid gas|analog digital|hardware software|frontend backend|client-side server-side|compile interpret|
lossless lossy|mutable immutable|signed unsigned|prefix suffix|singular plural|active passive|past future|
ancient modern|temporary permanent|constant variable|fixed variable|rough smooth|sharp blunt|clean dirty|
shallow deep|near far|nearest farthest|closest farthest|absent present|present past|guilty innocent|visible invisible|
erh\u00f6hen senken|aktivieren deaktivieren|kaufen verkaufen|kauf verkauf|vor nach|mit ohne|mehr weniger|h\u00f6chste niedrigste|
maximal minimal|gr\u00f6\u00dfer kleiner|gr\u00f6\u00dfte kleinste|schnell langsam|neu alt|erste letzte|\u00f6ffnen schlie\u00dfen|
hinzuf\u00fcgen entfernen|acheter vendre|avec sans|plus moins|avant apr\u00e8s|ouvrir fermer|activer d\u00e9sactiver|
comprar vender|con sin|m\u00e1s menos|antes despu\u00e9s|abrir cerrar|activar desactivar
"""
_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "de", "mis", "anti", "a")
_ENDINGS = ("ing", "ed", "es", "s", "e", "d", "er", "ers", "ion", "ions", "ation", "ations")


def _forms(word: str) -> set[str]:
    """A word without its endings, in the ways in which it may have been written."""
    forms = {word}
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            forms |= {word.removesuffix(ending), word.removesuffix(ending) + "e"}
    return forms


_OPPOSITES: dict[str, set[str]] = {}
for _pair in _PAIRS.replace("\n", "").split("|"):
    _one, _other = _pair.split(" ")
    _OPPOSITES.setdefault(_one, set()).add(_other)
    _OPPOSITES.setdefault(_other, set()).add(_one)


def opposite(one: str, other: str) -> bool:
    """Whether two words in small letters say the opposite of each other."""
    if one == other:
        return False
    ones, others = _forms(one), _forms(other)
    if any(not others.isdisjoint(_OPPOSITES.get(form, ())) for form in ones):
        return True
    short, long = sorted((one, other), key=len)
    return any(long == prefix + short for prefix in _PREFIXES) or (
        short.endswith("ful") and long == short.removesuffix("ful") + "less"
    )
