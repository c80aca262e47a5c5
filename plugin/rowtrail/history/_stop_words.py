"""Words that say nothing about what is looked for, where others are beside them."""

from __future__ import annotations

_ENGLISH = """
a about all also am an and any are as at be been but by can could did do does for from get got had
has have he her here him his how i if in into is it its just may me my no nor not of on or our out
please shall she should so some such than that the their them then there these they this those to
too was we were what when where which who whom whose why will with would you your
"""
_OTHERS = (
    """
aber als am an auch auf aus bei bin bis bitte das dass dem den der des die du ein eine einem einen
einer er es für hat haben hatte ich im in ist ja kann mein mit nach nicht noch nur oder ohne sein
sich sie sind so über um und uns unser von vor war was wann warum wer wie wir wird wo zu zum zur
""",
    """
à au aux avec ce ces cette comment dans de des du elle en est et eu il ils je la le les leur lui
ma mais me même mes moi mon ne nos notre nous on ont ou où par pas pour pourquoi qu quand que quel
quelle qui sa se ses son sont sur ta te tes toi ton tu un une vos votre vous
""",
    """
al algo como con cual cuando de del desde donde dónde e el ella en entre era es ese esta este fue ha
hay la las le lo los más me mi muy nada ni no nos o para pero por porque que qué quién se ser si sí
sin sobre son su sus también te tu un una y ya yo cuándo cómo
""",
    """
agli ai al alla alle anche c che chi ci come con cosa cui da dal dalla dei del della delle di dove
e è ed era gli ha ho i il in io la le lo loro ma mi mio ne nei nel nella non o per perché più quale
quando questa questo se si sono su sua sul sulla suo tra tu un una uno
""",
    """
a ao aos as até com como da das de do dos e é ela ele em entre era essa esse esta este eu foi há
isso já mais mas me mesmo meu minha muito na nas não no nos o onde os ou para pela pelo por
porque qual quando que quem se sem ser seu sua também te tem um uma
""",
    """
aan al als bij dan dat de der deze die dit door een en er had heb hebben heeft het hij hoe hun ik in
is je kan maar me mijn met na naar niet nog nu of om onder ons ook op over te tot u uit uw van voor
waar waarom wanneer was wat we wie wij worden zal ze zich zij zijn zo
""",
)

_EN = frozenset(_ENGLISH.split())
_SETS = tuple(frozenset(words.split()) for words in _OTHERS)

AT_LEAST = 2
"""Of so many stop words of a language a text is taken to be in it: `die` is a word in English."""


def stop_words(words: list[str]) -> frozenset[str]:
    """Return which words of a text, in small letters, say nothing."""
    given = set(words)
    others = (found for some in _SETS if len(found := some & given) >= AT_LEAST)
    return (_EN & given).union(*others)
