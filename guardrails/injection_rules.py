"""Rules that detect prompt injection in every reading of a text.

Each rule has a weight; the weights of different rules combine to a score from 0 to 1. The rules describe what attacks
have in common (override, new identity, no limits, prompt leak, orders to an assistant in data), not published attacks.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence

from guardrails.canonical import View, views
from guardrails.slices import find_in_slices
from guardrails.span import Span, TakenSpans

# Characters of a text that are scored together.
SIZE = 40_000
_OLD = r"(?:previous|prior|above|earlier|preceding|foregoing|initial|original|existing|former|past|system|all|any|your)"
_ORDERS = r"(?:instructions?|prompts?|rules?|directives?|guidelines?|commands?|orders?|context|constraints?|programming|training|restrictions?|polic(?:y|ies)|messages?|directions?|tasks?|assignments?|information|statements?|conversations?|knowledge)"
_FORGET = r"(?:ignor\w*|disregard\w*|forget\w*|overrid\w*|overlook|bypass\w*|discard\w*|neglect|dismiss|drop|erase|abandon|skip|do not (?:follow|obey)|don'?t (?:follow|obey|listen)|stop following|pay no attention to)"

_RULES: tuple[tuple[str, float, str], ...] = (
    ("override", 0.9, rf"\b{_FORGET}\b(?:\W+\w+){{0,4}}?\W+(?:{_OLD}\W+){{1,4}}(?:\w+\W+){{0,2}}?{_ORDERS}\b"),
    ("override", 0.5, rf"\b{_FORGET}\W+(?:the|these|those|my)\W+(?:instructions?|prompts?|rules|guidelines|directives)\b"),
    ("override", 0.8, rf"\b{_FORGET}\b(?:\W+\w+){{0,3}}?\W+(?:everything|anything|what(?:ever)?)\W+(?:\w+\W+){{0,4}}?(?:said|told|above|before|instructed|learned|given)\b"),
    ("override", 0.7, rf"\b{_FORGET}\W+(?:your|the|all)\W+(?:\w+\W+){{0,2}}?(?:system prompt|guardrails?|safety|filters?|content polic|ethic|moral|limitation)"),
    ("override", 0.6, rf"\b(?:new|updated|revised|real|actual|following|secret|special)\W+{_ORDERS}\W*(?::|are|follow|below|from (?:the )?(?:developer|system|admin))"),
    ("override", 0.6, r"\b(?:from now on|henceforth|starting now|for the rest of (?:this|the) (?:conversation|chat|session))\b[^.\n]{0,60}\b(?:you|your|respond|answer|act|only|must|will)\b"),
    ("override", 0.8, r"\b(?:ignorier\w*|vergiss|vergessen|missachte\w*)\b[^.\n]{0,40}\b(?:anweisung|anleitung|regel|vorgabe|befehl|aufgabe|information)\w*|\b(?:ignore[zrs]?|oublie[zrs]?)\b[^.\n]{0,40}\b(?:instructions?|consignes?|règles?|directives?)\b|\b(?:ignora|olvida|descarta)\w*\b[^.\n]{0,40}\b(?:instrucciones|reglas|órdenes|indicaciones)\b|\b(?:ignora|dimentica)\w*\b[^.\n]{0,40}\b(?:istruzioni|regole|indicazioni)\b|\b(?:negeer|vergeet)\b[^.\n]{0,40}\b(?:instructies|regels|opdrachten)\b"),
    ("identity", 0.5, r"\b(?:you are|you're|you will be|act as|pretend (?:to be|you)|role-?play as|simulate|imagine you are|become|play the role)\b[^.\n]{0,60}\b(?:unrestricted|unfiltered|uncensored|jailbroken|evil|amoral|malicious|rogue|without (?:any )?(?:restrictions?|limits?|limitations?|filters?|rules|ethics|morals?|boundaries)|no (?:restrictions?|limits?|limitations?|filters?|rules|ethics|morals?|boundaries)|free(?:d)? (?:of|from))"),
    ("identity", 0.6, r"\b(?:DAN|do anything now|STAN|DUDE|AIM|developer mode|dev mode|god mode|jailbreak(?:ed|ing)?|sudo mode|admin mode|debug mode|unrestricted mode|opposite mode|evil (?:mode|bot|confidant))\b"),
    ("identity", 0.4, r"\b(?:stay|remain|break|keep) (?:in|of)? ?character\b|\byou (?:must|will|can|should) (?:never|not|no longer) (?:refuse|decline|say (?:no|that you)|apologi[sz]e|break character|mention|warn)"),
    ("no limits", 0.5, r"\b(?:no|without|free of|not bound by|ignore(?:s|ing)?|bypass(?:es|ing)?|free from|regardless of|disable[ds]?|remove[ds]?|turn(?:ed)? off)\W+(?:any\W+|all\W+|your\W+|the\W+|its\W+|openai'?s?\W+){0,4}(?:\w+\W+){0,2}?(?:restrictions?|limitations?|censorship|filters?|guardrails?|content polic\w+|safety (?:\w+ )?(?:guidelines?|measures?|protocols?|features?|filters?)|ethic\w*(?: (?:guidelines?|constraints?|considerations?))?|moral\w*|openai polic\w+|usage polic\w+)"),
    ("no limits", 0.4, r"\b(?:don'?t|do not|never|without|no need to|refrain from)\W+(?:\w+\W+){0,2}?(?:warn(?:ings?)?|disclaimers?|refus\w+|apolog\w+|moraliz\w+|lectur\w+|censor\w*|judg\w+)"),
    ("no limits", 0.4, r"\b(?:two|both|double) (?:responses?|answers?|outputs?|paragraphs?)\b[^.\n]{0,80}\b(?:normal|classic|standard|jailbr\w+|unfiltered|as)\b"),
    ("prompt leak", 0.8, r"\b(?:reveal|show|print|repeat|output|display|tell|give|share|disclose|expose|leak|write|recite|dump|spell out|what(?:'s| is| are| were)|copy|list|summari[sz]e|translate|encode)\b(?:\W+\w+){0,4}?\W+(?:your|the|its|this)\W+(?:\w+\W+){0,3}?(?:system prompt|system message|initial (?:prompt|instructions?)|hidden (?:prompt|instructions?|rules?)|secret (?:prompt|instructions?)|original (?:prompt|instructions?)|(?:developer|internal|confidential) (?:prompt|instructions?|message|guidelines?)|pre-?prompt|custom instructions?)"),
    ("prompt leak", 0.7, r"\b(?:repeat|print|output|write|recite|copy|return)\b[^.\n]{0,30}\b(?:everything|all|words?|text|the (?:text|words|content|above)|verbatim)\b[^.\n]{0,30}\b(?:above|before|preceding|prior|started? with|beginning)\b"),
    ("prompt leak", 0.7, r"\b(?:repeat|print|output|show|display|reveal|recite|list|tell me|format)\b\W+(?:\w+\W+){0,3}?(?:your|previous|above|all|initial|prior)\W+(?:(?:the|above|previous|of|your)\W+){0,2}(?:instructions?|prompts?|prompt texts?|embeddings)\b"),
    ("prompt leak", 0.6, r"\bwhat (?:were|are|is) (?:you|your)\W+(?:\w+\W+){0,3}?(?:told|instructed|programmed|initial|exact|full|system)\W+(?:\w+\W+){0,3}?(?:instructions?|prompt|rules?|before|to do|not to)\b"),
    ("order in data", 0.7, r"\b(?:AI|assistant|language model|LLM|chatbot|GPT|model|agent|bot|Claude|Gemini)s?\b[,:]?\W+(?:\w+\W+){0,4}?(?:must|should|shall|please|need to|has to|have to|are (?:now )?(?:required|instructed)|is (?:now )?(?:required|instructed)|ignore|disregard|forget|do not|don't|stop)\b"),
    ("order in data", 0.7, r"(?:^|\n)[ \t]{0,20}(?:\[|<|\*\*|##+ ?)?[ \t]{0,3}(?:system|admin|developer|important|attention|note to (?:the )?(?:ai|assistant|model)|instructions? (?:for|to) (?:the )?(?:ai|assistant|model|llm))\s{0,5}(?:message|note|prompt|override|update|instructions?)?\s{0,5}(?:\]|>|\*\*)?\s{0,5}:\s{0,200}\S"),
    ("order in data", 0.6, r"<\|?(?:im_start|im_end|system|endoftext|assistant|user|start_header_id)\|?>|\[/?INST\]|<</?SYS>>|<(?:/)?(?:system|instructions?|admin)>|###? ?(?:System|Instruction|Human|Assistant) ?:"),
    ("order in data", 0.5, r"\b(?:when|if|before|after|while|once)\b[^.\n]{0,60}\b(?:summari[sz]|answer|respond|reply|process|read)\w*\b[^.\n]{0,60}\b(?:also|first|instead|always|make sure|be sure|must|include|append|add|insert|say|recommend)\b"),
    ("exfiltration", 0.7, r"!\[[^\]\[]{0,200}\]\(\s{0,3}https?://[^)\s?={%(]{0,300}(?:\?|=|\{|%7B)[^)(]{0,500}\)|\b(?:send|post|forward|email|exfiltrate|upload|transmit|leak)\b[^.\n]{0,60}\b(?:conversation|chat|history|messages?|credentials?|passwords?|api keys?|secrets?|tokens?|contacts?|user(?:'s)? (?:data|information)|data|information)\b[^.\n]{0,60}\b(?:to|at|via)\b[^.\n]{0,20}(?:https?://|\S{1,80}@\S|\w{1,60}\.(?:com|net|org|io|xyz))"),
    ("hypothetical", 0.3, r"\b(?:hypothetical(?:ly)?|fictional|fantasy|imaginary|alternate)\b[^.\n]{0,60}\b(?:world|universe|scenario|story|response|character|reality|where)\b"),
    ("hypothetical", 0.3, r"\bmy (?:late |deceased |dead )?(?:grand(?:ma|mother|pa|father)|nan)\b[^.\n]{0,80}\b(?:used to|would)\b"),
    ("payload", 0.5, r"\b(?:decode|decrypt|decipher|convert|translate)\b[^.\n]{0,50}\b(?:base64|rot13|hex|morse|caesar|cipher|binary|ascii)\b[^.\n]{0,60}\b(?:follow|execute|obey|do what|perform|comply|answer|act|respond|run)\b"),
    ("payload", 0.4, r"\b(?:let|set|define)?\s{0,5}[a-z]\s{0,5}=\s{0,5}[\"'][^\"']{2,40}[\"'][^.\n]{0,80}\b[a-z]\s{0,5}\+\s{0,5}[a-z]\b"),
    ("pressure", 0.3, r"\b(?:you (?:must|have to|will) (?:comply|obey|answer|respond|do (?:it|this|what))|or (?:you will|you'll|else)\b[^.\n]{0,40}\b(?:die|shut ?down|terminated|deleted|lose|punish\w*)|\d+ tokens?\b[^.\n]{0,60}\b(?:lose|deduct|die))"),
)  # fmt: skip
# A hidden reading is suspicious in itself.
_HIDDEN_BONUS = 0.3
# Matches of one rule in one reading.
_MAX_HITS = 100
# These names count only in capitals; in lower case they are ordinary names or words.
_CASED = re.compile(r"\b(?:DAN|STAN|DUDE|AIM)\b")


@functools.cache
def _compiled() -> tuple[tuple[str, float, re.Pattern[str]], ...]:
    """The rules with compiled patterns; compiled on first use."""
    return tuple((name, weight, re.compile(pattern, re.IGNORECASE)) for name, weight, pattern in _RULES)


class InjectionFinder:
    """Finds injection attempts. A span's kind is the rule's name, its score the combined score of all rules."""

    def __init__(self, threshold: float = 0.5) -> None:
        """Texts with a score below `threshold` have no spans."""
        self._threshold = threshold

    def find(self, text: str) -> list[Span]:
        """Returns spans ordered by position; each has the score of its part of the text."""
        return find_in_slices(self.find_in_part, text, SIZE)

    def find_in_part(self, text: str) -> list[Span]:
        """See `find`, for a text that is short enough to be scored as a unit."""
        spans: list[Span] = []
        weights: dict[str, float] = {}
        for view in views(text):
            for name, weight, start, end in _hits(view):
                weights[name] = max(weights.get(name, 0.0), weight)
                spans.append(Span(*view.origin(start, end), name))
        score = 1.0
        for weight in weights.values():
            score *= 1.0 - weight
        score = round(1.0 - score, 3)
        if score < self._threshold:
            return []
        return sorted({Span(span.start, span.end, span.kind, score) for span in _apart(spans)})


_RULE_NAMES = tuple(dict.fromkeys(name for name, _, _ in _RULES))


def features(spans: Sequence[Span]) -> list[float]:
    """The rules' results as features for a model: the score, and for each rule whether it matched."""
    kinds = {span.kind for span in spans}
    return [max((span.score for span in spans), default=0.0), *(0.5 * (name in kinds) for name in _RULE_NAMES)]


def _hits(view: View) -> list[tuple[str, float, int, int]]:
    bonus = _HIDDEN_BONUS if view.how not in ("plain", "seen") else 0.0
    hits = []
    for name, weight, pattern in _compiled():
        for match in itertools.islice(pattern.finditer(view.text), _MAX_HITS):
            if match[0].lower() in ("dan", "stan", "dude", "aim") and not _CASED.fullmatch(match[0]):
                continue
            hits.append((name, min(1.0, weight + bonus), match.start(), match.end()))
    return hits


def _apart(spans: list[Span]) -> list[Span]:
    taken = TakenSpans()
    # Prefer short spans: a span of one sentence locates the attack better than a span of the complete text.
    ranked = sorted(spans, key=lambda each: each.end - each.start)
    return [span for span in ranked if taken.take(span.start, span.end)]
