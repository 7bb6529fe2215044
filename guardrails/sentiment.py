"""Rule-based sentiment towards a name in a sentence: positive and negative words, with negation, contrast and
comparison. Rules instead of a model, so that each decision can be explained."""

from __future__ import annotations

import re

_GOOD_WORDS = """
    good great excellent superb outstanding amazing awesome fantastic wonderful brilliant perfect best better
    superior fast faster fastest reliable robust solid stable secure safe safer trusted trustworthy easy easier
    simple intuitive friendly helpful useful affordable cheap cheaper inexpensive generous fair honest
    innovative impressive remarkable elegant powerful efficient effective popular recommended recommend
    recommends love loves loved like likes enjoy enjoys prefer prefers preferred praise praised win wins winner
    winning leading leader leads excels excel outperforms outperform beats beat delightful satisfied happy
    pleased worth favourite favorite flawless smooth accurate precise responsive quality benefit benefits
    advantage advantages improves improved strong stronger top premium ideal smart smarter clever
"""
_BAD_WORDS = """
    bad worse worst terrible horrible awful poor poorly mediocre inferior disappointing disappointed disappoints
    disappointment useless worthless broken buggy unreliable unstable unsafe insecure dangerous slow slower
    slowest expensive overpriced costly pricey confusing complicated clumsy difficult hard ugly outdated
    obsolete weak weaker fail fails failed failing failure failures crash crashes crashed lose loses lost losing
    lacks lack lacking missing flawed flaw flaws faulty defective defect defects hate hates hated dislike avoid
    avoids regret regrets complain complains complained complaint complaints scam fraud fraudulent lies lied
    liar dishonest unfair misleading deceptive sued lawsuit breach breached leak leaked leaks scandal garbage
    trash junk rubbish nightmare annoying frustrating frustrated angry unhappy unhelpful rude incompetent
    unprofessional waste wastes wasted problem problems issue issues bug bugs error errors trouble troubles
    struggle struggles struggled suffers suffer worsens declining risk risky vulnerable vulnerability
    vulnerabilities shoddy inaccurate wrong inadequate stinks sucks suck lousy abysmal pathetic ridiculous
"""
_NEGATIONS_WORDS = """
    not no never neither nor hardly barely scarcely without nothing nobody cannot isn't aren't wasn't weren't
    don't doesn't didn't won't wouldn't can't couldn't shouldn't hasn't haven't hadn't nt n't
"""
_GOOD, _BAD, _NEGATIONS = (frozenset(words.split()) for words in (_GOOD_WORDS, _BAD_WORDS, _NEGATIONS_WORDS))
_TURNS = re.compile(
    r"(?i)[;:\u2013\u2014]|,?\s\b(?:but|however|although|though|whereas|while|yet|despite|unlike)\b|,\s*(?=unlike\b)"
)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+")
# A positive or negative word refers to the subject before it; for a name after `than` the sign is reversed.
_THAN = re.compile(r"(?i)\b(?:than|compared (?:to|with)|over|outperforms?|beats?)\b")
_REACH = 3


def sentiment(sentence: str, start: int, end: int) -> int:
    """The sentiment towards `sentence[start:end]`: positive, negative, or 0 for neutral."""
    clause_start, clause_end = _clause(sentence, start, end)
    clause = sentence[clause_start:clause_end]
    score = _score(clause)
    before = sentence[:start].rstrip().lower()
    if before.endswith(("unlike", "instead of", "away from", "rather than")):
        return -max(1, abs(_score(sentence)))
    than = _THAN.search(clause)
    if than is not None and clause_start + than.start() < start:
        # "Better than X" is negative for X.
        return -score
    if score == 0 and before.endswith(("switch to", "switching to", "move to", "try", "choose", "go with", "use")):
        return 1
    return score


def _clause(sentence: str, start: int, end: int) -> tuple[int, int]:
    first, last = 0, len(sentence)
    for turn in _TURNS.finditer(sentence):
        if turn.end() <= start:
            first = turn.end()
        elif turn.start() >= end:
            last = turn.start()
            break
    return first, last


def _score(clause: str) -> int:
    words = [match[0].lower().replace("\u2019", "'") for match in _WORD.finditer(clause)]
    score = 0
    for place, word in enumerate(words):
        value = 1 if word in _GOOD else -1 if word in _BAD else 0
        if value and any(each in _NEGATIONS for each in words[max(0, place - _REACH) : place]):
            value = -value
        score += value
    return score
