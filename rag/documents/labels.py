"""Words that name a column or a field of a form. They decide only where the form of a table leaves it open."""

from __future__ import annotations

import re

_LABELS_TEXT = (
    "account action active activity address adresse age alter amount anmerkung ansprechpartner answer antwort anzahl "
    "applies area art artikel article assignee attribute aufgabe author autor balance begin beginn bemerkung "
    "beschreibung besitzer betrag betreff bezeichnung birthday boss brand budget bundesland cantidad capacity capital "
    "categoria category categorie ciudad city class client client_id cliente code color colour comment comments "
    "company contact cost costs count country currency customer data date datum day days deadline delivery "
    "department depth description descripcion detail details direccion discount distance district dni due duration "
    "einheit email employee end ende entity error event expires expiry fecha feature field file firma format frage "
    "frequency frist from geburtsdatum gehalt gender gewicht goal group gruppe head headquarters height hersteller "
    "hour hours iban id image importe index indicator industry issue item items job kategorie key kind kosten kunde "
    "kunden land language last lead length level license lieferant limit line link location manager manufacturer "
    "market material max maximum measure menge message metric min minimum mobile model modell monat month municipality "
    "nachname naam name namen nazwa nom nombre note notes notiz number nummer office operator option order ort owner "
    "package page parameter part partner payment pays people percent percentage period person phase phone plan plz "
    "population position postcode power precio preis prenom pressure price priorität priority prix problem process "
    "producer product produit produkt projekt project projektleiter property province purpose qty quantity quarter "
    "question question_id rank rate ratio reason receiver reference regel region remark remarks response responsible "
    "result revenue risk role room rule salary sales sector sender serial service setting severity sex shape site size "
    "sku solution source speed stadt standort start state status step stock store straße street subject summary "
    "supplier surname symptom tag target task team telefon telefono telephone temperature term text thema time title "
    "titel titre to topic total town traffic type typ umsatz unit units updated url user username value valor variant "
    "vendor verantwortlich version vertrag volume vorname warranty week weight wert width word year years zeit zip zone"
)
_LABELS = frozenset(_LABELS_TEXT.split())
_WORD = re.compile(r"[^\W\d_]+")
_IN_BRACKETS = re.compile(r"\([^)]*\)|\[[^\]]*\]")
_MOST_WORDS = 4
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]+)+")


def is_label(cell: str) -> bool:
    """Whether a cell reads like the name of a column or field: `Unit price (EUR)`, `first_name`, `Owner:`."""
    cell = cell.strip()
    if _IDENTIFIER.fullmatch(cell):
        return True
    words = _WORD.findall(_IN_BRACKETS.sub(" ", cell).lower())
    if not 0 < len(words) <= _MOST_WORDS:
        return False
    return any(word in _LABELS or (word.endswith("s") and word[:-1] in _LABELS) for word in (words[0], words[-1]))
