"""The frames of `training.frames`, and the words that fill them: nobody's data."""

from __future__ import annotations

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
