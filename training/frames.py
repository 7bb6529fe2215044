"""Sentences with personal data in them, made from frames: what the tagger is trained on.

A frame is a sentence with slots: `{person}`, `{address}`, `{org}`, `{place}` are labelled, `{date}`, `{phone}`, `{mail}`,
`{number}`, `{tech}`, `{thing}` are not. Names and addresses come from Faker's locales.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

Span = tuple[int, int, str]
Example = tuple[str, list[Span]]

LABELLED = {"person": "PERSON", "first": "PERSON", "last": "PERSON", "address": "ADDRESS", "org": "ORGANISATION",
            "place": "LOCATION"}  # fmt: skip

LOCALES = {
    "en_US": "en", "en_GB": "en", "en_AU": "en", "en_CA": "en", "en_IN": "en", "de_DE": "de", "de_AT": "de",
    "de_CH": "de", "fr_FR": "fr", "es_ES": "es", "es_MX": "es", "it_IT": "it", "nl_NL": "nl", "pt_BR": "en",
    "pt_PT": "en", "pl_PL": "en", "sv_SE": "en", "no_NO": "en", "da_DK": "en", "fi_FI": "en", "cs_CZ": "en",
    "hu_HU": "en", "ro_RO": "en", "hr_HR": "en", "tr_TR": "en", "sl_SI": "en", "et_EE": "en", "el_GR": "en",
}  # fmt: skip

FRAMES = {
    "en": """
My name is {person}.|I am {person} and I live at {address}.|Hi, this is {first} from {org}.|Please call {person} at {phone}.
Ship it to {address}.|Send the parcel to {person}, {address}.|Dear {title} {last},|Dear {person},|Kind regards,\\n{person}
Best,\\n{first}|{person}\\n{address}|{person}\\n{org}\\n{address}|From: {person} <{mail}>|To: {person} <{mail}>; {person} <{mail}>
{person} works for {org} in {place}.|{org} hired {person} as {job}.|The meeting with {person} and {person} is on {date}.
I spoke to {first} about it yesterday.|Can you book a flight to {place} for {person}?|{first} and {first} moved to {place}.
The patient, {person}, born {date}, lives at {address}.|Patient {last} was admitted to {org} on {date}.
Change my address from {address} to {address}.|Our office is at {address}.|Where is {address}?|Is {address} near {place}?
Name: {person}|Full name: {person}\\nAddress: {address}\\nPhone: {phone}|Customer: {person}, account {number}|Company: {org}
The account is under my wife's name, {person}.|Add {person} as a guardian.|My husband {first} lost his card {number}.
{person}'s order {number} has not arrived.|{first}'s laptop is broken.|It was {person} who signed the contract with {org}.
According to {person}, {org} will open a branch in {place}.|"{quote}," said {person}, {job} at {org}.|{person} told {person} that {quote}.
We moved here from {place}.|I'm travelling to {place} next week.|She was born in {place} on {date}.|He lives on {address}.
The invoice from {org} is {number} USD.|I work at {org}.|{org} has its seat in {place}.|Write an e-mail to {person} of {org}.
Summarise what {last} wrote about {thing}.|{last} et al. showed this in 2019.|Have you heard {person} speak?|Who is {person}?
Tell {first} that {quote}.|Ask {first} {last} for the key.|{title} {last} will see you at 3 pm.|Is {title} {person} in today?
{last}, {first}|{last}, {first} ({date})|{number},{first},{last},{mail},{phone}|{"name": "{person}", "address": "{address}"}
{"first_name": "{first}", "last_name": "{last}", "city": "{place}"}|<customer>{person}</customer>|user={person} id={number}
I live in {place}, at {address}.|My address is {address}, please update it.|Deliver to: {address}|Billing address: {address}
Meet me at {address} at noon.|The house at {address} is for sale.|They live at {address}, {place}.|I grew up on {address} in {place}.
Write a birthday poem for my daughter {first}.|Draft a letter to {org}, {address}.|{person} vs. {org}|Contract between {org} and {org}
Signed: {person}, {date}|cc {person}, {person}|Follow up with {person} in two weeks.|Remind {first} to call {org}.
My son {first} goes to school in {place}.|Doctor {last} said so.|The tenant {person} owes {number} for {address}.|Hello {first}!
Good morning {first}, how is {thing}?|Thanks, {first}|This is for {person} only.|Regards {first} {last}|Translate: my name is {person}.
The CEO of {org}, {person}, stepped down.|{org} sued {org} over {thing}.|Shares of {org} fell by 3%.|He left {org} for {org}.
What does {org} sell?|Is {org} a good employer?|I bought it from {org} in {place}.|{org}, {address}|Contact {org} at {mail}.
Transfer 500 to {person}, IBAN {number}.|Card holder {person}|Passenger {person} flies from {place} to {place}.|CV of {person}
The {org} choir was founded in {date}.|{org} guitarist {person} left the band.|She tore up her {org} contract.|A {org} spokesman said so.
{org} was started by {last}, {last} and {last}.|The founders, {last}, {first} and {last}, sold {org}.|Attendees: {person}, {person}, {first}, {last}
{first}, {first} and {first} are coming.|Invite {person}, {person} and {person}.|{last} and {last} v. {org}|The idea of {org} was born on a beach.
I have two addresses: {address}, and {address}.|Send one to {address} and one to {address}.|It is at {address}|Return it to {address} in case of doubt.
Walk along {address} until you see the church.|We live on the north side of {address}.|Where to? User: {address}|The shop is at {address} after the bridge.
{person}\n\n{address}\n{place}|{person}\n{org}\n{address}\n{place}\n{phone}|He was seen in southern {place}.|The {org} app crashes.|Is {org} down?
Read {org}'s report on {thing}.|My {org} account is locked.|{org} bought {org} for 3 billion.|{person}, formerly of {org}, joins {org}.|I applied to {org}.
{person} met {first} in {place}, and {last} was there too.|{first} just has to sing. Don't go, {first}!|A song by {person} and {person}.|{last} fans love {last}.
i am {person}, please help|pls tell {first} im late|{first}: hi there\\n{first}: hello, who is this?|@{first} can you look at {thing}?
""",
    "de": """
Ich heiße {person}.|Mein Name ist {person}, ich wohne in der {address}.|Bitte rufen Sie {person} unter {phone} an.
Sehr geehrter Herr {last},|Sehr geehrte Frau {last},|Hallo {first},|Mit freundlichen Grüßen\\n{person}|Viele Grüße, {first}
Die Rechnung geht an {org}, {address}.|{person} arbeitet bei {org} in {place}.|Lieferadresse: {address}|Kunde: {person}, Nr. {number}
Frau {person} wohnt {address}.|Ich ziehe von {place} nach {place}.|Der Vertrag zwischen {org} und {person} vom {date}.
Herr Dr. {last} ist heute nicht da.|{first} und {first} kommen aus {place}.|Unsere Adresse lautet {address}.|Wer ist {person}?
Bitte die Bestellung {number} an {person}, {address} schicken.|Der Patient {person}, geboren am {date}, klagt über Husten.
""",
    "fr": """
Je m'appelle {person}.|J'habite au {address}.|Bonjour {first},|Madame {last},|Cordialement,\\n{person}|Monsieur {person} habite {address}.
Envoyez le colis à {person}, {address}.|{person} travaille chez {org} à {place}.|Le contrat entre {org} et {person} du {date}.
Appelez {person} au {phone}.|Adresse de livraison : {address}|Nom : {person}|Je pars de {place} pour {place}.|Qui est {person} ?
La facture de {org} est arrivée.|Le docteur {last} est absent.|{first} et {first} viennent de {place}.|Client : {person}, n° {number}
""",
    "es": """
Me llamo {person}.|Vivo en {address}.|Hola {first},|Estimado señor {last}:|Un saludo,\\n{person}|La señora {last} vive en {address}.
Envíe el paquete a {person}, {address}.|{person} trabaja en {org}, en {place}.|Llame a {person} al {phone}.|Dirección: {address}
Nombre: {person}|Viajo de {place} a {place}.|¿Quién es {person}?|El contrato entre {org} y {person} del {date}.|Cliente {person}, {number}
""",
    "it": """
Mi chiamo {person}.|Abito in {address}.|Ciao {first},|Gentile signor {last},|Cordiali saluti\\n{person}|La signora {last} abita in {address}.
Spedite il pacco a {person}, {address}.|{person} lavora per {org} a {place}.|Chiamate {person} al {phone}.|Indirizzo: {address}
Nome: {person}|Vado da {place} a {place}.|Chi è {person}?|Il contratto tra {org} e {person} del {date}.|Cliente {person}, {number}
""",
    "nl": """
Mijn naam is {person}.|Ik woon op {address}.|Hallo {first},|Geachte heer {last},|Met vriendelijke groet,\\n{person}|Mevrouw {last} woont op {address}.
Stuur het pakket naar {person}, {address}.|{person} werkt bij {org} in {place}.|Bel {person} op {phone}.|Adres: {address}
Naam: {person}|Ik reis van {place} naar {place}.|Wie is {person}?|Het contract tussen {org} en {person} van {date}.|Klant {person}, {number}
""",
}

# Nothing personal in these, though much of it is written with capitals.
PLAIN = """
Explain how {tech} differs from {tech}.|Why does {tech} throw a NullPointerException here?|Write a {tech} function that sorts a list.
How do I deploy {tech} on {tech}?|Fix this {tech} error: {Thing} not found|Convert this {tech} script to {tech}.|TODO: refactor {Thing}Handler
What is the capital of a country?|Summarise the following text in three points.|Translate this sentence into French.|Hello, how are you?
Compare {tech} and {tech} for {thing}.|Monday is fine, Tuesday is not.|The {Thing} Act of 1990 has three parts.|Happy New Year and Merry Christmas!
Error 404: {Thing} Not Found|GET /api/v1/{thing}/{number} HTTP/1.1|SELECT {thing} FROM {thing}s WHERE id = {number};|version {number} of {tech}
Chapter {number}: {Thing} and {Thing}|Q: What is {thing}? A: It depends.|Step 1. Open Settings. Step 2. Click Save.|What are the side effects of {thing}?
In English, the word {Thing} has two meanings.|The Great Depression began in 1929.|Write a haiku about {thing}.|Set {Thing}Timeout to {number}ms.
Capitalised words such as {Thing} and {Thing} are often mistaken for names.|Will it rain tomorrow?|Please keep it short. Thanks!|Dear Sir or Madam,
The customer asked about {thing}; the agent answered at {time}.|Your order {number} has shipped.|My card {number} was declined.|Call {phone} now.
import {tech}\\nfrom {thing} import {Thing}|class {Thing}({Thing}):\\n    pass|const {thing} = await {thing}.{thing}();|docker run -p 8080:80 {thing}:latest
Let {thing} be a vector in R^n.|A {Thing} tree has O(log n) depth.|Use Dijkstra's algorithm.|The Bayes theorem and the Gaussian kernel.|Try a Kalman filter.
{tech} {number} was released in March.|Install {tech} with pip.|Is {tech} faster than {tech}?|I prefer {tech} over {tech} for {thing}.|Use the Hamming distance.
"""

TECH = [
    "Python",
    "Java",
    "JavaScript",
    "TypeScript",
    "Rust",
    "Go",
    "Kotlin",
    "Swift",
    "Docker",
    "Kubernetes",
    "Terraform",
    "Ansible",
    "Jenkins",
    "Redis",
    "Kafka",
    "PostgreSQL",
    "MySQL",
    "MongoDB",
    "SQLite",
    "Cassandra",
    "Elasticsearch",
    "Spark",
    "Hadoop",
    "Airflow",
    "Django",
    "Flask",
    "FastAPI",
    "Rails",
    "Laravel",
    "Spring",
    "Angular",
    "React",
    "Vue",
    "Svelte",
    "Node",
    "Express",
    "NumPy",
    "Pandas",
    "PyTorch",
    "TensorFlow",
    "Keras",
    "Linux",
    "Ubuntu",
    "Debian",
    "Windows",
    "macOS",
    "Android",
    "Git",
    "GitLab",
    "Nginx",
    "Apache",
    "Grafana",
    "Prometheus",
    "Helm",
    "Istio",
    "Vault",
    "Consul",
    "Ruby",
    "Perl",
    "Scala",
    "Haskell",
    "Elixir",
    "Erlang",
    "Julia",
    "Matlab",
    "Excel",
    "Word",
    "Outlook",
    "Bash",
    "PowerShell",
    "GraphQL",
    "REST",
    "gRPC",
    "OAuth",
    "SAML",
    "JSON",
    "YAML",
    "XML",
    "HTML",
    "CSS",
    "SQL",
    "Maven",
    "Gradle",
    "Webpack",
    "Selenium",
    "Cypress",
    "Jest",
    "Pytest",
    "Lambda",
    "Bootstrap",
    "Tailwind",
    "Unity",
    "Unreal",
    "Blender",
    "Photoshop",
    "Figma",
    "Jira",
    "Confluence",
    "Slack",
    "Zoom",
    "Teams",
    "Chrome",
    "Firefox",
    "Safari",
]
THINGS = [
    "printer",
    "invoice",
    "warranty",
    "pump",
    "engine",
    "contract",
    "session",
    "cache",
    "token",
    "gateway",
    "router",
    "battery",
    "delivery",
    "refund",
    "password",
    "window",
    "report",
    "garden",
    "project",
    "budget",
    "schedule",
    "holiday",
    "recipe",
    "meeting",
    "server",
    "cluster",
    "pipeline",
    "index",
    "query",
    "vector",
    "matrix",
    "adapter",
    "factory",
    "manager",
    "controller",
    "service",
    "worker",
    "thread",
    "socket",
    "kernel",
    "module",
    "package",
    "filter",
    "parser",
    "lexer",
    "buffer",
    "queue",
    "stack",
]
JOBS = [
    "engineer",
    "director of sales",
    "nurse",
    "head of research",
    "lawyer",
    "analyst",
    "teacher",
    "chief of staff",
    "manager",
    "consultant",
]
TITLES = ["Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "Mr", "Mrs", "Ms", "Dr", "Professor", "Captain", "Judge", "Sir"]
QUOTES = [
    "we did what we could",
    "it will be done by Friday",
    "nobody told us",
    "the price is too high",
    "I can't wait",
    "this is a mistake",
]
ORG_WORDS = [
    "Northwind",
    "Bluestone",
    "Silverline",
    "Harbor",
    "Cedar",
    "Summit",
    "Vertex",
    "Lumen",
    "Orion",
    "Falcon",
    "Maple",
    "Granite",
    "Pioneer",
    "Crescent",
    "Beacon",
    "Atlas",
    "Nova",
    "Zenith",
    "Quantum",
    "Evergreen",
    "Ironwood",
    "Riverbank",
    "Stonebridge",
    "Clearwater",
    "Redwood",
    "Highland",
    "Meridian",
    "Solstice",
    "Apex",
    "Horizon",
]
ORG_KINDS = [
    "Systems",
    "Labs",
    "Logistics",
    "Partners",
    "Consulting",
    "Foods",
    "Pharma",
    "Energy",
    "Bank",
    "Insurance",
    "Airlines",
    "Motors",
    "Media",
    "Software",
    "Group",
    "Hospital",
    "University",
    "Foundation",
    "Council",
    "Ministry",
    "Institute",
    "Trust",
    "Holdings",
    "Solutions",
    "Industries",
    "Capital",
    "Robotics",
    "Health",
]
SUFFIXES = (
    "Inc.",
    "Ltd",
    "LLC",
    "GmbH",
    "AG",
    "S.A.",
    "S.r.l.",
    "B.V.",
    "Corp.",
    "plc",
    "Co.",
    "& Sons",
    "KG",
    "Oy",
    "AB",
)

_SLOT = re.compile(r"\{(\w+)\}")


class Writer:
    """Fills frames. The same seed gives the same sentences."""

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        """`words` are ordinary ones, to coin names from."""
        from faker import Faker

        self._random = random.Random(seed)
        self._words = words
        self._fakers: dict[str, Any] = {}
        for locale in LOCALES:
            self._fakers[locale] = Faker(locale)
            self._fakers[locale].seed_instance(seed)
        self._frames = {language: _split(text) for language, text in FRAMES.items()}
        self._plain = _split(PLAIN)

    def examples(self, count: int) -> Iterator[Example]:
        """Texts of one to four sentences with their spans."""
        for _ in range(count):
            yield self._example()

    def _example(self) -> Example:
        choose = self._random
        locale = choose.choice(list(LOCALES))
        frames = self._frames[LOCALES[locale]]
        if choose.random() < 0.15:
            frames = self._frames["en"]
        text = ""
        spans: list[Span] = []
        for _ in range(choose.choice((1, 1, 1, 2, 2, 3, 4))):
            frame = choose.choice(self._plain if choose.random() < 0.25 else frames)
            piece, found = self._fill(frame, self._fakers[locale])
            joint = choose.choice((" ", " ", "\n", "\n\n", ". ")) if text else ""
            start = len(text) + len(joint)
            text += joint + piece
            spans += [(start + a, start + b, label) for a, b, label in found]
        return self._noise(text, spans)

    def _noise(self, text: str, spans: list[Span]) -> Example:
        luck = self._random.random()
        if luck < 0.10 and len(text.lower()) == len(text):
            return text.lower(), spans
        if luck < 0.14 and len(text.upper()) == len(text):
            return text.upper(), spans
        return text, spans

    def _fill(self, frame: str, faker: Any) -> Example:
        text = ""
        spans: list[Span] = []
        place = 0
        for slot in _SLOT.finditer(frame):
            text += frame[place : slot.start()]
            place = slot.end()
            value = self._value(slot[1], faker).strip(" ,")
            if slot[1] in LABELLED and value:
                spans.append((len(text), len(text) + len(value), LABELLED[slot[1]]))
            text += value
        return text + frame[place:], spans

    def _value(self, slot: str, faker: Any) -> str:
        choose = self._random
        match slot:
            case "person":
                return self._person(faker)
            case "first":
                return str(faker.first_name())
            case "last":
                return str(faker.last_name())
            case "address":
                return self._address(faker)
            case "place":
                return str(choose.choice((faker.city, faker.city, faker.country))())
            case "org":
                return self._organisation(faker)
            case "date":
                return str(
                    faker.date(choose.choice(("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%B %d, %Y", "%d %B %Y", "%Y")))
                )
            case "phone":
                return str(faker.phone_number())
            case "mail":
                return str(faker.ascii_email())
            case "number":
                return str(choose.randint(1, 10 ** choose.randint(1, 12)))
            case "time":
                return str(faker.time())
            case "thing" | "Thing":
                word = choose.choice(THINGS)
                return word.capitalize() if slot == "Thing" else word
        options = {"tech": TECH, "job": JOBS, "title": TITLES, "quote": QUOTES}
        return choose.choice(options[slot])

    def _person(self, faker: Any) -> str:
        choose = self._random
        first, last = str(faker.first_name()), str(faker.last_name())
        forms = [f"{first} {last}"] * 6 + [
            first, last, f"{first} {choose.choice('ABCDEFGHJKLMNPRSTW')}. {last}", f"{first[0]}. {last}",
            f"{first} {faker.first_name()} {last}", f"{first} {last}-{faker.last_name()}", f"{first} {choose.choice('ABCDEFGJKMNRST')} {last}",
        ]  # fmt: skip
        return str(choose.choice(forms))

    def _address(self, faker: Any) -> str:
        choose = self._random
        luck = choose.random()
        whole = str(faker.address())
        street = str(faker.street_address())
        if luck < 0.30:
            value = whole.replace("\n", ", ")
        elif luck < 0.45:
            value = whole
        elif luck < 0.75:
            value = street.replace("\n", ", ")
        elif luck < 0.88:
            value = str(faker.street_name())
        elif luck < 0.94:
            postcode = getattr(faker, "postcode", None)
            value = f"{street}, {postcode()} {faker.city()}" if postcode else street
        elif luck < 0.96:
            value = f"the corner of {faker.street_name()} and {faker.street_name()}"
        else:
            number = choose.randint(1, 9999)
            joint = choose.choice((" ", "\n", "\n ", ", "))
            flat = choose.choice(
                (f"Suite {number % 999}", f"Apt. {number % 999}", f"Box {number}", f"Flat {number % 99}", "")
            )
            parts = [street, flat, str(faker.city()), str(faker.country()), str(faker.random_int(1000, 99999))]
            value = joint.join(part for part in parts if part)
            value = f"{choose.randint(1, 99999)} {value}" if choose.random() < 0.4 else value
        return value

    def _organisation(self, faker: Any) -> str:
        choose = self._random
        luck = choose.random()
        if luck < 0.25:
            return str(faker.company())
        if luck < 0.6:
            return self._coined(choose.random())
        luck = choose.random() * 0.65 + 0.35
        name = choose.choice(ORG_WORDS) if luck < 0.7 else str(faker.last_name())
        if luck < 0.5 or luck > 0.9:
            return f"{name} {choose.choice(ORG_KINDS)}"
        if luck < 0.6:
            return name + choose.choice(("soft", "tech", "works", "ly", "ify", "corp", "net", "base", "io", "bank"))
        if luck < 0.8:
            return f"{name} {choose.choice(SUFFIXES)}"
        return f"{name} {choose.choice(ORG_KINDS)} {choose.choice(SUFFIXES)}"

    def _coined(self, luck: float) -> str:
        """A name made of ordinary words, which is what most companies have."""
        choose = self._random
        words = [choose.choice(self._words).capitalize() for _ in range(3)]
        if luck < 0.3:
            return words[0] + words[1].lower()
        if luck < 0.45:
            return words[0] + words[1]
        if luck < 0.6:
            return words[0]
        if luck < 0.85:
            return f"{words[0]} {choose.choice((words[1], *ORG_KINDS))}"
        return f"{words[0]} {words[1]} {choose.choice((words[2], *ORG_KINDS, *SUFFIXES))}"


def _split(text: str) -> list[str]:
    return [
        frame.replace("\\n", "\n") for line in text.strip().splitlines() for frame in line.split("|") if frame.strip()
    ]
