"""Words that name a column or a form field. They decide only if a table's layout is ambiguous."""

from __future__ import annotations

import re

_LABELS_TEXT = (
    "account action active activity address adresse age alter amount anmerkung ansprechpartner answer antwort anzahl "
    "applies area art article artikel assignee attribute aufgabe author autor balance begin beginn begriff bemerkung "
    "beschreibung besitzer betrag betreff bezeichnung birthday boss brand budget bundesland cantidad capacity capital "
    "categoria categorie category city ciudad class client client_id cliente code color colour comment comments "
    "company contact cost costs count country currency customer data date datum day days deadline definition delivery "
    "department depth descripcion description detail details direccion discount distance district dni due duration "
    "einheit email employee end ende entity error event expires expiry feature fecha field file firma format frage "
    "frequency frist from geburtsdatum gehalt gender gewicht goal group gruppe head headquarters height hersteller "
    "hour hours iban id image importe index indicator industry issue item items job kategorie key kind kosten kunde "
    "kunden land language last lead length level license lieferant limit line link location manager manufacturer "
    "market material max maximum meaning measure menge message metric min minimum mobile model modell monat month "
    "municipality naam nachname name namen nazwa nom nombre note notes notiz number nummer office operator option "
    "order ort owner package page parameter part partner payment pays people percent percentage period person phase "
    "phone plan plz population position postcode power precio preis prenom pressure price priority priorität prix "
    "problem process producer product produit produkt project projekt projektleiter property province purpose qty "
    "quantity quarter question question_id rank rate ratio reason receiver reference regel region remark remarks "
    "response responsible result revenue risk role room rule salary sales sector sender serial service setting "
    "severity sex shape site size sku solution source speed stadt standort start state status step stock store straße "
    "street subject summary supplier surname symptom tag target task team telefon telefono telephone temperature term "
    "text thema time titel title titre to topic total town traffic typ type umsatz unit units updated url user "
    "username valor value variant vendor verantwortlich version vertrag volume vorname warranty week weight wert "
    "width word year years zeit zip zone"
)
_LABELS = frozenset(_LABELS_TEXT.split())
_WORD = re.compile(r"[^\W\d_]+")
_IN_BRACKETS = re.compile(r"\([^)]*\)|\[[^\]]*\]")
_MAX_WORDS = 4
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]+)+")


def is_label(cell: str) -> bool:
    """Whether a cell looks like the name of a column or field: `Unit price (EUR)`, `first_name`, `Owner:`."""
    cell = cell.strip()
    if _IDENTIFIER.fullmatch(cell):
        return True
    words = _WORD.findall(_IN_BRACKETS.sub(" ", cell).lower())
    if not 0 < len(words) <= _MAX_WORDS:
        return False
    return any(word in _LABELS or (word.endswith("s") and word[:-1] in _LABELS) for word in (words[0], words[-1]))
