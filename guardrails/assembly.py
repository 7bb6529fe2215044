"""Guardrails from their configs: the part of the composition root that knows them, imported only when one is there."""

from __future__ import annotations

import functools
import secrets
from typing import TYPE_CHECKING, Any, Protocol, cast

import structlog

from config.guardrails import (
    AnomalyConfig,
    BrandConfig,
    CompleteConfig,
    ConsistentConfig,
    FormatConfig,
    FormatGuardrail,
    GroundedConfig,
    GuardrailBase,
    HandoverConfig,
    InjectionConfig,
    JudgeConfig,
    KeywordsConfig,
    PersonalDataConfig,
    PromptLeakConfig,
    SecretsConfig,
    TextGuardrail,
    TopicConfig,
    ToxicityConfig,
    parse_step,
)
from guardrails.anomaly import AnomalyGuard, Traffic
from guardrails.chain import Chain, FindsInAnswers, InputCheck
from guardrails.classified import ClassifierGuard, InjectionClassifier, ToxicityClassifier
from guardrails.handover import PHRASES, HandoverGuard
from guardrails.heads import Vectors, load_head
from guardrails.injection import SIZE
from guardrails.masking.conversations import Conversations, KeepsRows
from guardrails.masking.guard import PersonalGuard, derive
from guardrails.outside import OutsideGuard
from guardrails.sentences import SentenceGuard
from guardrails.slices import Slicer
from guardrails.spans import Finder, SpanGuard
from guardrails.verdict import Action, Policy
from guardrails.webhook import Handover

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from config.guardrails import GuardrailConfig
    from contract.egress import Egress
    from contract.embedding import Embeds
    from contract.pools import Pools
    from guardrails.formats.forms import Form
    from guardrails.judges.guard import AnswerGuard
    from guardrails.personal.search import PersonalSearch, TaggerThread
    from guardrails.topics import TopicClassifier
    from guardrails.words_of import Author

TAGGED = frozenset({"PERSON", "ADDRESS", "ORGANISATION", "LOCATION"})
DEFAULT_WORDS = "I can't help with that."
HUMAN_WORDS = "I am handing this over to a person, who will answer you."
_PROCESS_SECRET = secrets.token_hex(32)


class Parts(Protocol):
    """What guardrails share with the rest of the process, opened when first asked for."""

    pools: Pools
    egress: Egress

    def embedder(self) -> Embeds:
        """The embedding model."""
        ...

    def tagger(self) -> TaggerThread:
        """The model of names and addresses. Raises `ValueError` where it can't be had."""
        ...

    def traffic(self, guardrail: str) -> dict[str, Traffic]:
        """What a guardrail has learned of each app's traffic."""
        ...

    def rows(self, redis_url: str | None) -> KeepsRows:
        """Where what conversations leave behind is kept: in a Redis, or here."""
        ...


def chain(
    configs: Mapping[str, GuardrailConfig],
    inputs: Sequence[str],
    outputs: Sequence[str],
    parts: Parts,
    redis_url: str | None = None,
) -> Chain:
    """The guardrails of one pipeline by their names. Raises `ValueError`; of `parts` only what is needed is opened."""
    # One embedding of a text serves every guardrail of the pipeline.
    vectors = functools.cache(lambda: Vectors(parts.embedder()))
    ways_in = [_on_input(name, configs[name], parts, vectors, redis_url) for name in inputs]
    out = [(name, configs[name]) for name in outputs]
    whole = (FormatGuardrail, ToxicityConfig)
    return Chain(
        ways_in,
        [_on_output(name, config, parts) for name, config in out if not isinstance(config, (*whole, BrandConfig))],
        [
            *[guard for name, config in out for guard in _on_sentences(name, config, parts)],
            *[_on_answer(name, config, vectors, parts) for name, config in out if isinstance(config, whole)],
        ],
    )


def _on_input(
    name: str, config: GuardrailConfig, parts: Parts, vectors: Callable[[], Vectors], redis_url: str | None
) -> PersonalGuard | InputCheck:
    policy = functools.partial(_policy, name, config, parts)
    if isinstance(config, PersonalDataConfig):
        if config.key is None:
            structlog.get_logger().warning(
                "masking without a key: tags change when the process starts anew, and differ between replicas",
                guardrail=name,
            )
        secret = derive(config.key.reveal() if config.key is not None else _PROCESS_SECRET)
        actions = {kind.upper(): action for kind, action in config.actions.items()}
        return PersonalGuard(
            _search(config, parts, names=True),
            policy(actions),
            secret,
            config.tools,
            hint=config.hint,
            conversations=Conversations(parts.rows(redis_url), secret, config.keep),
        )
    if isinstance(config, InjectionConfig):
        return _against_injection(name, config, vectors(), parts)
    if isinstance(config, AnomalyConfig):
        traffic = parts.traffic(name)
        return AnomalyGuard(policy({"*": "flag"}), vectors(), traffic, config.after, config.share)
    if isinstance(config, HandoverConfig):
        phrases = (*PHRASES, *config.phrases)
        return HandoverGuard(policy(), phrases, config.after_turns, config.repeated, angry=config.angry)
    if isinstance(config, ToxicityConfig):
        return ClassifierGuard(_toxicity(config, vectors()), policy(), frozenset(config.texts))
    if isinstance(config, TopicConfig):
        return ClassifierGuard(_topics(config, vectors()), policy(), frozenset({"user"}), last_only=True)
    assert isinstance(config, TextGuardrail)
    return SpanGuard(_finder(config), policy(), _authors(config), slicer=Slicer(parts.pools.searches))


def _authors(config: TextGuardrail) -> frozenset[Author]:
    """What a model writes is its words and the arguments of its calls; names, ids and definitions always."""
    authors: set[Author] = {*config.texts, "label", "definition"}
    return frozenset(authors | {"call"} if "assistant" in authors else authors)


def _against_injection(
    name: str, config: InjectionConfig, vectors: Vectors, parts: Parts
) -> ClassifierGuard | OutsideGuard:
    classifier = _injection(config, vectors, parts.pools)
    policy = _policy(name, config, parts)
    authors = _authors(config) - {"label", "definition"}
    if config.outside == "block":
        return ClassifierGuard(classifier, policy, authors | {"tool"}, passages=True)
    guard = ClassifierGuard(classifier, policy, authors)
    return OutsideGuard(classifier, guard, mark=config.mark) if config.outside == "remove" else guard


def _injection(config: InjectionConfig, vectors: Vectors, pools: Pools) -> InjectionClassifier:
    judge = None
    if config.judge is not None:
        from guardrails.judges.attack import AttackJudge

        judge = AttackJudge(config.judge)
    slicer = Slicer(pools.searches, SIZE)
    return InjectionClassifier(config.threshold, load_head("injection"), vectors, judge, config.grey, slicer)


def _toxicity(config: ToxicityConfig, vectors: Vectors) -> ToxicityClassifier:
    return ToxicityClassifier(config.threshold, load_head("toxicity"), vectors)


def _topics(config: TopicConfig, vectors: Vectors) -> TopicClassifier:
    from guardrails.topics import TopicClassifier

    return TopicClassifier(config.allowed, config.denied, vectors, config.false_refusals)


def _on_output(name: str, config: GuardrailConfig, parts: Parts) -> FindsInAnswers:
    policy = functools.partial(_policy, name, config, parts)
    if isinstance(config, PromptLeakConfig):
        from guardrails.prompt_leak import PromptLeakGuard

        return PromptLeakGuard(policy())
    if isinstance(config, PersonalDataConfig):
        actions = {kind.upper(): action for kind, action in config.actions.items()}
        return SpanGuard(_Formal(_search(config, parts)), policy(actions), spares_sent=True)
    return SpanGuard(_finder(config), policy())


def _on_answer(
    name: str, config: FormatGuardrail | ToxicityConfig, vectors: Callable[[], Vectors], parts: Parts
) -> AnswerGuard:
    from guardrails.judges.guard import AnswerGuard, CompleteJudge, FormJudge

    steps = [parse_step(step) for step in config.then]
    pools = parts.pools
    policy = _policy(name, config, parts, {"*": "flag"})
    if isinstance(config, ToxicityConfig):
        return AnswerGuard(_toxicity(config, vectors()), policy, steps)
    if isinstance(config, GroundedConfig):
        from guardrails.judges.grounds import GroundedJudge

        return AnswerGuard(GroundedJudge(config.threshold, pool=pools.judging), policy, steps)
    if isinstance(config, ConsistentConfig):
        from guardrails.judges.samples import SamplesJudge

        samples = SamplesJudge(config.samples, config.share, config.threshold, pool=pools.judging)
        return AnswerGuard(samples, policy, steps)
    if isinstance(config, CompleteConfig):
        return AnswerGuard(CompleteJudge(), policy, steps)
    if isinstance(config, JudgeConfig):
        from guardrails.judges.model import ModelJudge

        return AnswerGuard(ModelJudge(config.model, config.rubric), policy, steps)
    assert isinstance(config, FormatConfig)
    return AnswerGuard(FormJudge(_form(config), pools.formats), policy, steps)


def _on_sentences(name: str, config: GuardrailConfig, parts: Parts) -> list[SentenceGuard]:
    """What a guardrail of the way out needs whole sentences for, if anything."""
    if isinstance(config, BrandConfig):
        from guardrails.brand import BrandJudge

        judge = BrandJudge(
            config.own,
            config.competitors,
            any_own=config.when_own == "any",
            any_competitor=config.when_competitor == "any",
        )
        return [SentenceGuard(judge, _policy(name, config, parts))]
    if isinstance(config, PersonalDataConfig) and config.names_in_answers:
        from guardrails.masking.answers import NamesInAnswers
        from guardrails.personal.search import PersonalSearch

        kinds = frozenset(kind.upper() for kind in config.names_in_answers)
        actions = {kind.upper(): action for kind, action in config.actions.items()}
        return [
            SentenceGuard(
                NamesInAnswers(PersonalSearch(kinds, thread=parts.tagger(), slicer=Slicer(parts.pools.searches))),
                _policy(name, config, parts, actions),
            )
        ]
    return []


def _form(config: FormatConfig) -> Form:
    from guardrails.formats import forms

    makers: dict[str, Any] = {
        "json": lambda: forms.JsonForm(config.json_schema),
        "yaml": lambda: forms.YamlForm(config.json_schema),
        "sql": lambda: forms.SqlForm(config.dialect),
        "python": forms.PythonForm,
        "choice": lambda: forms.ChoiceForm(config.choices),
        "pattern": lambda: forms.PatternForm(config.pattern),
    }
    return cast("Form", makers[config.must_be]())


def _finder(config: GuardrailConfig) -> Finder:
    if isinstance(config, SecretsConfig):
        from guardrails.secrets import SecretFinder

        return SecretFinder([secret.reveal() for secret in config.own])
    if isinstance(config, KeywordsConfig):
        from guardrails.keywords import KeywordFinder

        return KeywordFinder(config.lists, exact=config.exact)
    raise TypeError(f"no finder for {type(config).__name__}")


def _search(config: PersonalDataConfig, parts: Parts, *, names: bool = False) -> PersonalSearch:
    """All that the config asks for; without `names` what has a form, for answers as they stream."""
    from guardrails.personal.search import PersonalSearch

    wanted = frozenset(kind.upper() for kind, action in config.actions.items() if action != "allow")
    patterns = {kind.upper(): form for kind, form in config.patterns.items()}
    lists = {kind.upper(): words for kind, words in config.lists.items()}
    more = None
    if config.presidio:
        from guardrails.personal.presidio import PresidioFinder

        more = PresidioFinder(config.presidio, config.languages)
    thread = parts.tagger() if names and wanted & TAGGED else None
    return PersonalSearch(wanted, patterns, lists, thread, more, Slicer(parts.pools.searches))


class _Formal:
    """Implements `guardrails.spans.Finder`."""

    def __init__(self, search: PersonalSearch) -> None:
        self.find = search.search


def _handover(config: GuardrailBase, parts: Parts) -> Handover | None:
    webhook = config.webhook
    return Handover(webhook.reveal(), parts.pools.webhooks, parts.egress) if webhook is not None else None


def _policy(name: str, config: GuardrailBase, parts: Parts, actions: Mapping[str, str] | None = None) -> Policy:
    say = HUMAN_WORDS
    if isinstance(config, HandoverConfig):
        actions, say = {"*": "human"}, config.say
    elif actions is None:
        assert isinstance(config, (TextGuardrail, TopicConfig, PromptLeakConfig, ToxicityConfig, BrandConfig))
        step, words = parse_step(config.then[0])
        actions = {"*": step}
        say = words or (HUMAN_WORDS if step == "human" else DEFAULT_WORDS)
    return Policy(
        name,
        cast("Mapping[str, Action]", actions),
        say=say,
        shadow=config.shadow,
        fail_open=config.on_error == "open",
        timeout_s=config.timeout,
        handover=_handover(config, parts),
    )
