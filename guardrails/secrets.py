"""Keys, tokens, private keys and connection strings: by the forms that their issuers gave them, and by their disorder.

The forms are public knowledge of the issuers' documentation. What only looks random must also stand where a secret would:
after a word such as `token` or `password` and a sign such as `=`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from config.secret import Secret
from guardrails.span import Span, resolve
from guardrails.spans import TextGuardrail

_ISSUED = {
    "openai_key": r"sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,200}",
    "anthropic_key": r"sk-ant-[A-Za-z0-9_-]{20,200}",
    "aws_access_key": r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",
    "google_key": r"AIza[A-Za-z0-9_-]{35}",
    "google_token": r"ya29\.[A-Za-z0-9_-]{20,500}",
    "github_token": r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})",
    "gitlab_runner": r"GR1348941[A-Za-z0-9_-]{20}",
    "flyio_token": r"fo1_[A-Za-z0-9_-]{43}|fm[12][ar]?_[A-Za-z0-9+/]{80,600}={0,3}",
    "teams_webhook": r"https://[a-z0-9-]{1,120}\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/-]{60,200}",
    "authress_key": r"(?:sc|ext|scauth|authress)_[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][a-z0-9-]{10,32}\.[A-Za-z0-9+/_=-]{30,120}",
    "vault_old_token": r"s\.(?=[A-Za-z]{0,22}\d[A-Za-z]{0,22}\d)[A-Za-z0-9]{24}",
    "mapbox_token": r"[ps]k\.[A-Za-z0-9]{50,90}\.[A-Za-z0-9_-]{20,24}",
    "encoded_jwt": r"ZXlK[A-Za-z0-9+/_-]{40,4000}={0,2}",
    "settlemint_token": r"sm_(?:aat|pat|sat)_[A-Za-z0-9]{16}",
    "gitlab_token": r"gl(?:pat|ptt|rt|dt|cbt|ft|agent|oas|soat|imt|ffct)-[A-Za-z0-9_=.-]{20,300}",
    "slack_token": r"xox[abeoprs]-[A-Za-z0-9-]{10,250}|xapp-\d-[A-Za-z0-9-]{10,200}",
    "slack_webhook": r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{40,80}",
    "stripe_key": r"(?:sk|rk|pk)_(?:test|live|prod)_[A-Za-z0-9]{10,120}",
    "twilio_key": r"SK[0-9a-f]{32}",
    "sendgrid_key": r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,64}",
    "mailgun_key": r"(?:key|pubkey)-[0-9a-f]{32}",
    "npm_token": r"npm_[A-Za-z0-9]{36}",
    "pypi_token": r"pypi-AgE[A-Za-z0-9_-]{50,1000}",
    "huggingface_token": r"hf_[A-Za-z]{34}|api_org_[A-Za-z]{34}",
    "databricks_token": r"dapi[0-9a-f]{32}(?:-\d)?",
    "digitalocean_token": r"do[opr]_v1_[0-9a-f]{64}",
    "shopify_token": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "telegram_token": r"\d{6,16}:A[A-Za-z0-9_-]{34}",
    "discord_token": r"[MNO][A-Za-z\d_-]{23,25}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27,38}",
    "vault_token": r"hv[bsr]\.[A-Za-z0-9_-]{24,300}",
    "age_key": r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
    "linear_key": r"lin_(?:api|oauth)_[A-Za-z0-9]{32,64}",
    "notion_token": r"(?:ntn_[A-Za-z0-9]{40,60}|secret_[A-Za-z0-9]{43})",
    "airtable_token": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    "square_token": r"(?:EAAA|sq0atp-|sq0csp-)[A-Za-z0-9_-]{22,80}",
    "dropbox_token": r"sl\.[A-Za-z0-9_=-]{100,200}",
    "doppler_token": r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}",
    "grafana_token": r"glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|glc_[A-Za-z0-9+/]{32,400}={0,2}",
    "newrelic_key": r"NRAK-[A-Z0-9]{27}|NRJS-[a-f0-9]{19}|NRII-[A-Za-z0-9-]{32}",
    "postman_key": r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    "pulumi_token": r"pul-[0-9a-f]{40}",
    "planetscale_token": r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9=._-]{32,64}",
    "rubygems_key": r"rubygems_[0-9a-f]{48}",
    "sentry_token": r"sntr[ysu]{1,2}_[A-Za-z0-9+/=_-]{40,400}",
    "atlassian_token": r"ATATT3[A-Za-z0-9_=-]{180,200}",
    "groq_key": r"gsk_[A-Za-z0-9]{40,60}",
    "perplexity_key": r"pplx-[A-Za-z0-9]{40,60}",
    "xai_key": r"xai-[A-Za-z0-9]{60,100}",
    "replicate_token": r"r8_[A-Za-z0-9]{37}",
    "gatehouse_key": r"gh-[A-Za-z0-9_-]{32,80}",
    "facebook_token": r"\d{15,16}(?:\||%7C)[0-9a-zA-Z_-]{27,40}",
    "harness_key": r"(?:pat|sat)\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}",
    "jwt": r"ey[A-Za-z0-9_-]{15,2000}\.ey[A-Za-z0-9_/+-]{15,4000}\.[A-Za-z0-9_/+-]{10,2000}={0,2}",
    "azure_secret": r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}",
    "azure_storage": r"AccountKey=[A-Za-z0-9+/]{86}==",
}
# What must stand in a text for a form to be worth a search.
_GATES = {
    "gitlab_runner": ("GR1348941",), "flyio_token": ("fo1_", "fm1", "fm2"), "teams_webhook": (".webhook.office.com",),
    "authress_key": (".acc-", ".acc_"), "vault_old_token": ("s.",), "mapbox_token": ("k.",), "encoded_jwt": ("ZXlK",), "settlemint_token": ("sm_",),
    "openai_key": ("sk-",), "anthropic_key": ("sk-ant-",), "aws_access_key": ("A3T", "AKIA", "ASIA", "ABIA", "ACCA"), "google_key": ("AIza",),
    "google_token": ("ya29.",), "github_token": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"), "gitlab_token": ("gl",),
    "slack_token": ("xox", "xapp-"), "slack_webhook": ("hooks.slack.com",), "stripe_key": ("_test_", "_live_", "_prod_"), "twilio_key": ("SK",),
    "sendgrid_key": ("SG.",), "mailgun_key": ("key-",), "npm_token": ("npm_",), "pypi_token": ("pypi-AgE",), "huggingface_token": ("hf_", "api_org_"),
    "databricks_token": ("dapi",), "digitalocean_token": ("_v1_",), "shopify_token": ("shp",), "telegram_token": (":A",), "vault_token": ("hv",),
    "age_key": ("AGE-SECRET",), "linear_key": ("lin_",), "notion_token": ("ntn_", "secret_"), "airtable_token": ("pat",),
    "square_token": ("EAAA", "sq0"), "dropbox_token": ("sl.",), "doppler_token": ("dp.",), "grafana_token": ("glsa_", "glc_"),
    "newrelic_key": ("NR",), "postman_key": ("PMAK-",), "pulumi_token": ("pul-",), "planetscale_token": ("pscale_",),
    "rubygems_key": ("rubygems_",), "sentry_token": ("sntr",), "atlassian_token": ("ATATT3",), "groq_key": ("gsk_",), "perplexity_key": ("pplx-",),
    "xai_key": ("xai-",), "replicate_token": ("r8_",), "gatehouse_key": ("gh-",), "jwt": ("ey",), "azure_secret": ("Q~",),
    "azure_storage": ("AccountKey=",), "facebook_token": ("|", "%7C"), "harness_key": ("pat.", "sat."), "discord_token": (".",),
}  # fmt: skip
_KEY_BEGINS = re.compile(r"-----BEGIN[ A-Z0-9_-]{0,100}?PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END[ A-Z0-9_-]{0,100}?KEY(?: BLOCK)?-----")
_LONGEST_KEY = 20_000
_CONNECTION = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/@:\"'<>]{0,100}:(?P<value>[^\s/@\"'<>${}]{3,200})@[^\s\"'<>]{1,300}"
)
_NAMED = re.compile(
    r"(?i)(?:token|secret|passw(?:or)?d|passphrase|pwd|pass|api[_-]?key|apikey|access[_-]?key|secret[_-]?key|private[_-]?key|"
    r"credentials?|client[_-]?key|auth[_-]?key|signature[_-]?key|encryption[_-]?key)[\w.-]{0,20}[\"'`]?\]?"
    r"\s{0,3}(?:=>|:=|=|:|\bis\b|,|\|\|)\s{0,3}(?:bearer\s|basic\s)?[\"'`]{0,3}(?P<value>[^\s\"'`,;<>(){}\[\]]{8,300})"
)
_NAMED_GATE = re.compile(r"(?i)authorization|token|secret|passw|pwd|passphrase|pass|key|credential")
_BEARER = re.compile(
    r"(?i)\b(?:authorization|x-api-key|api-key)[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:bearer|basic|token)?\s{0,9}(?P<value>[A-Za-z0-9._~+/=-]{16,2000})"
)
_ENCODED = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{24,4000}={0,2})(?![A-Za-z0-9+/])|(?<![0-9a-fA-F])(?:[0-9a-f]{2}){16,2000}(?![0-9a-fA-F])"
)
_ASSIGNED = re.compile(
    r"(?:=>|:{1,3}=|\|\||\?=|==|[=:>,])(?=[\"'`\s=]{0,5}(?P<value>[A-Za-z0-9+/_.~-]{10,400}={0,3})(?![\w/=]))"
)
# What comes before the sign: the name of what is assigned, within so many letters.
_NAME_BEFORE = re.compile(r"(?P<name>[A-Za-z][\w.-]{0,60}(?:[ \t][\w.-]{1,30})?)[\"'`\])\s]{0,4}\Z")
_NAME_REACH = 90
# Services whose keys have no form of their own: under their name a value counts although it looks like any id.
_SERVICES = re.compile(
    r"(?i)adafruit|adobe|airtable|algolia|alibaba|asana|atlassian|beamer|bitbucket|bittrex|cloudflare|codecov|coinbase|"
    r"confluen|contentful|datadog|discord|droneci|dropbox|etsy|facebook|fastly|finicity|finnhub|flickr|freshbooks|"
    r"gitter|gocardless|heroku|hubspot|intercom|jfrog|artifactory|jira|kraken|kucoin|launchdarkly|linear|linked-?_?in|"
    r"\blob|looker|mailchimp|mailgun|mapbox|mattermost|message-?_?bird|netlify|new-?_?relic|nytimes|okta|pagerduty|plaid|"
    r"rapidapi|sendbird|sendgrid|sentry|sidekiq|contribsys|snyk|sonar|squarespace|sumo|telegr|travis|twilio|twitch|"
    r"twitter|typeform|yandex|zendesk|api|key|token|secret|auth|passw|credential|login|client.?id"
)
# A long value is no placeholder, whatever it begins with.
_LONG = 30
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMMAND = re.compile(
    r"\bcurl\b[^\n]{0,300}?\s(?:-u|--user)[ =]{0,3}(?:\"[^:\"\n]{1,80}:(?P<value>[^\"\n]{3,100})\"|'[^:'\n]{1,80}:(?P<quoted>[^'\n]{3,100})'"
    r"|[^:\s\"']{1,60}:(?P<bare>[^\s\"']{3,100}))"
)
_ATTRIBUTE = re.compile(
    r"(?i)key\s{0,3}=\s{0,3}[\"'][^\"'\n]{0,60}(?:password|passwd|secret|token|key)[\"']\s{1,30}value\s{0,3}=\s{0,3}[\"'](?P<value>[^\"'\n]{6,200})[\"']"
)
_SIDEKIQ = re.compile(r"(?i)contribsys__com[\"'`\s:=?>|,]{1,12}(?P<value>[0-9a-f]{8}:[0-9a-f]{8})\b")
_FREEMIUS = re.compile(r"(?i)secret_key[\"']\s{0,30}=>\s{0,30}[\"'](?P<value>sk_\S{29})[\"']")
# The values of a Kubernetes Secret are in base64, whatever they are.
_KUBERNETES = re.compile(r"(?i)\bkind[\"']?\s{0,5}:\s{0,5}[\"']?secret\b")
_KUBERNETES_VALUE = re.compile(
    r"(?m)^[ \t]{1,12}(?!name|namespace|type|kind)[\w.-]{1,80}\s{0,3}:\s{0,3}[\"']?(?P<value>[A-Za-z0-9+/]{8,8000}={0,2})[\"']?[ \t\r]*$"
)
# Long and random by nature, and no secrets.
_NO_SECRET = re.compile(
    r"(?i)sha\d*|md5|hash|digest|commit|checksum|integrity|uuid|guid|etag|version|revision|url|path|file|class|import|model"
)
_PLACEHOLDER = re.compile(
    r"(?i)^(?:\$|%|\{|<|os\.|process\.|env|config|self\.|settings|null|none|true|false|undefined|your|my|the|xxx|\*{3}|example|"
    r"changeme|placeholder|dummy|test|sample|insert|replace|redacted|todo|string|str|bytes|int|optional|required)|\.{3}|x{5}|\*{3}"
)
_LEAST_ENTROPY = 3.0
_LEAST_ASSIGNED = 3.4


def _disorder(text: str) -> float:
    """Bits a character (Shannon)."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _is_random(value: str) -> bool:
    """Whether a value could have been made by a machine, or is a password: letters with digits or signs, no word."""
    if _PLACEHOLDER.search(value) or len(set(value)) < 5:
        return False
    classes = sum(
        (any(c.islower() for c in value), any(c.isupper() for c in value), any(c.isdigit() for c in value),
         any(not c.isalnum() for c in value.strip("._-")))
    )  # fmt: skip
    if not any(c.isdigit() for c in value) and classes < 3:
        return False
    if re.fullmatch(r"[\d.:/-]+", value) or re.fullmatch(r"[A-Za-z_]+(?:[.(/][A-Za-z_.\d]*)+\)?", value):
        return False
    return _disorder(value) >= _LEAST_ENTROPY or (classes >= 3 and len(value) >= 8)


def _looks_made(value: str) -> bool:
    """Whether nobody would write it by hand: letters and digits well mixed, more so the shorter it is."""
    if value.count("/") >= 2 or value.startswith(("/", "-", ".")) or ".so" in value:
        return False
    changes = sum(a.isdigit() != b.isdigit() for a, b in itertools.pairwise(value))
    return changes >= 3 and _disorder(value) >= min(_LEAST_ASSIGNED, math.log2(len(value)) - 0.6)


def _is_assigned_secret(text: str, match: re.Match[str]) -> bool:
    """Whether the value behind a sign is a secret, by its look and by the name before the sign."""
    value = match["value"]
    if not any(letter.isdigit() for letter in value):
        return False
    before = _NAME_BEFORE.search(text, max(0, match.start() - _NAME_REACH), match.start())
    if before is None or _NO_SECRET.search(before["name"]) is not None:
        return False
    if _is_random(value) and len(value) >= 14 and _looks_made(value):
        return True
    if _SERVICES.search(before["name"]) is None or (len(value) < _LONG and _PLACEHOLDER.search(value)):
        return False
    if value.isdigit():
        return 14 <= len(value) <= 24
    return _UUID.fullmatch(value) is not None or (_is_mixed(value) and _disorder(value) >= _LEAST_ENTROPY)


def _is_mixed(value: str) -> bool:
    """Whether letters and digits are mixed as in no word, path or date."""
    changes = sum(a.isdigit() != b.isdigit() for a, b in itertools.pairwise(value))
    return changes >= 3 and value.count("/") < 2 and any(letter.isalpha() for letter in value)


class SecretsConfig(TextGuardrail):
    """Keys, tokens, private keys, connection strings; masked ones are lost."""

    kind: Literal["secrets"] = Field(description="Keys, tokens, private keys, connection strings.")
    own: tuple[Secret, ...] = Field(default=(), description="Your own secrets, to be found in any text.")

    def finder(self) -> SecretFinder:
        """See `TextGuardrail.finder`."""
        return SecretFinder([secret.reveal() for secret in self.own])


@functools.cache
def _issued_forms() -> tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...]:
    """Each form that an issuer gave its keys: its name, what must stand in a text, and the form itself.

    Compiled when a finder is made, so that a configuration that only names the guardrail is checked at once.
    """
    return tuple(
        (name, _GATES[name], re.compile(rf"(?<![A-Za-z0-9_-])(?:{form})(?![A-Za-z0-9])"))
        for name, form in _ISSUED.items()
    )


class SecretFinder:
    """Finds secrets. `own` are the company's own, kept only as keyed hashes of their words."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        self._forms = _issued_forms()
        self._salt = hashlib.blake2b(b"own secrets").digest()
        words = [word for word in own if word]
        self._own = {self._hash(word) for word in words}
        self._lengths = sorted({len(word) for word in words})
        self._own_token = re.compile(r"[^\s\"'`,;<>(){}\[\]]{4,300}") if words else None

    def _hash(self, word: str) -> bytes:
        return hmac.digest(self._salt, word.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def find(self, text: str) -> list[Span]:
        """Spans whose kind is the rule's name. Secrets in base64 or hex are found too, as the code that holds them."""
        spans = list(self._plain(text))
        for match in _ENCODED.finditer(text):
            decoded = _decoded(match[0])
            if decoded and any(True for _ in self._issued(decoded)):
                spans.append(Span(match.start(), match.end(), "encoded_secret"))
        return resolve(spans)

    def _plain(self, text: str) -> Iterable[Span]:
        yield from self._issued(text)
        if "://" in text:
            for match in _CONNECTION.finditer(text):
                if not _PLACEHOLDER.search(match["value"]):
                    yield Span(match.start(), match.end(), "connection_string")
        if _NAMED_GATE.search(text) is not None:
            for match in _NAMED.finditer(text):
                value = match["value"].rstrip(".:!?")
                if len(value) >= 8 and _is_random(value):
                    yield Span(match.start("value"), match.start("value") + len(value), "named_secret", 0.8)
            for match in _BEARER.finditer(text):
                if _is_random(match["value"]):
                    yield Span(*match.span("value"), "named_secret", 0.8)
        for match in _ASSIGNED.finditer(text):
            if _is_assigned_secret(text, match):
                yield Span(*match.span("value"), "assigned_secret", 0.7)
        forms = [_COMMAND, _ATTRIBUTE, _SIDEKIQ, _FREEMIUS]
        if _KUBERNETES.search(text) is not None:
            forms.append(_KUBERNETES_VALUE)
        for form in forms:
            for match in form.finditer(text):
                name = match.lastgroup or "value"
                if not _PLACEHOLDER.search(match[name]):
                    yield Span(*match.span(name), "named_secret", 0.8)
        yield from self._own_secrets(text)

    def _own_secrets(self, text: str) -> Iterable[Span]:
        for match in self._own_token.finditer(text) if self._own_token is not None else ():
            word = match[0]
            for length in self._lengths:
                for start in range(len(word) - length + 1):
                    if self._hash(word[start : start + length]) in self._own:
                        yield Span(match.start() + start, match.start() + start + length, "own_secret")

    def _issued(self, text: str) -> Iterable[Span]:
        for name, gates, form in self._forms:
            if not any(gate in text for gate in gates):
                continue
            for match in form.finditer(text):
                # `sk-` followed by words is a CSS class or a file's name, not a key.
                if name not in _LOOSE or _is_random(match[0]):
                    yield Span(match.start(), match.end(), name)
        if "PRIVATE KEY" in text:
            place = 0
            while (begins := _KEY_BEGINS.search(text, place)) is not None:
                ends = _KEY_ENDS.search(text, begins.end(), begins.end() + _LONGEST_KEY)
                # One that does not end is taken to go on.
                place = ends.end() if ends is not None else min(len(text), begins.end() + _LONGEST_KEY)
                yield Span(begins.start(), place, "private_key")


_LOOSE = frozenset({"openai_key", "gatehouse_key", "slack_token", "notion_token", "square_token", "stripe_key"})


def _decoded(code: str) -> str:
    """What base64 or hex stands for, if it is text; else nothing."""
    try:
        if re.fullmatch(r"(?:[0-9a-f]{2})+", code):
            raw = bytes.fromhex(code)
        else:
            raw = base64.b64decode(code.translate(_URL_SAFE) + "=" * (-len(code.rstrip("=")) % 4), validate=False)
        text = raw.decode("ascii")
    except (ValueError, binascii.Error):
        return ""
    return text if text.isprintable() or "\n" in text else ""


_URL_SAFE = str.maketrans("-_", "+/")
