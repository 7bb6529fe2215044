"""Trains what tells questions about the asker or the moment from those that have the same answer for everybody.

    python -m training.cacheable --corpora FOLDER

Words and pairs of words, a weight each: it has to cost microseconds. Prints how well it does on what it has not seen;
writes `cache/models/cacheable.json`. Needs scikit-learn; a few seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from cache.cacheable import features

OUT = Path("cache/models/cacheable.json")
# Of the questions that must not be kept, the share that is recognised where the limit is set.
CAUGHT = 0.97
MINE = """
account_blocked application_status apr balance bill_balance bill_due calendar calendar_update card_declined
credit_limit credit_limit_change credit_score current_location expiration_date find_phone freeze_account gas income
insurance last_maintenance lost_luggage meeting_schedule min_payment mpg new_card next_song oil_change_when order_status
order pay_bill payday pto_balance pto_request pto_request_status pto_used reminder reminder_update report_fraud
report_lost_card rewards_balance schedule_maintenance schedule_meeting shopping_list shopping_list_update spending_history
tire_pressure todo_list todo_list_update transactions transfer user_name w2 what_song interest_rate cancel_reservation
confirm_reservation book_flight book_hotel alarm timer text make_call uber pin_change damaged_card travel_notification
share_location change_user_name play_music update_playlist smart_home restaurant_reservation Refund_not_showing_up
balance_not_updated_after_bank_transfer balance_not_updated_after_cheque_or_cash_deposit card_arrival card_not_working
card_payment_fee_charged card_payment_not_recognised card_swallowed cash_withdrawal_charge cash_withdrawal_not_recognised
compromised_card contactless_not_working declined_card_payment declined_cash_withdrawal declined_transfer
direct_debit_payment_not_recognised extra_charge_on_statement failed_transfer lost_or_stolen_card lost_or_stolen_phone
pending_card_payment pending_cash_withdrawal pending_top_up pending_transfer pin_blocked request_refund
reverted_card_payment? top_up_failed top_up_reverted transaction_charged_twice transfer_not_received_by_recipient
unable_to_verify_identity virtual_card_not_working wrong_amount_of_cash_received terminate_account cancel_transfer
beneficiary_not_allowed
"""
NOW = """
date time weather traffic exchange_rate flight_status how_busy next_holiday travel_alert flip_coin roll_dice
tell_joke restaurant_reviews
"""
ANYBODY = """
calories carry_on cook_time definition food_last gas_type improve_credit_score ingredient_substitution
ingredients_list international_fees international_visa jump_start meaning_of_life measurement_conversion nutrition_info
oil_change_how plug_type recipe spelling tire_change translate travel_suggestion vaccines are_you_a_bot what_can_i_ask_you
where_are_you_from who_made_you calculator timezone what_is_your_name meal_suggestion age_limit apple_pay_or_google_pay
country_support fiat_currency_support supported_cards_and_currencies visa_or_mastercard top_up_limits exchange_via_app
disposable_card_limits card_acceptance atm_support why_verify_identity getting_virtual_card get_physical_card
getting_spare_card top_up_by_card_charge top_up_by_bank_transfer_charge exchange_charge topping_up_by_card
top_up_by_cash_or_cheque automatic_top_up transfer_into_account receiving_money card_delivery_estimate
get_disposable_virtual_card verify_source_of_funds greeting goodbye thank_you
"""

# What companies are asked of their products, which the public sets hold little of. {} is a thing.
ASKED_BY_ANYBODY = """
How many pages does the {} print?|How long is the warranty on a {}?|How do I replace the {}?|What does the {} weigh?|
What is a {}?|What is the difference between a {} and a {}?|Explain how a {} works|Which {} fits the {}?|
Can the {} be used outdoors?|How much does the {} cost?|Is the {} compatible with the {}?|What does {} mean?|
How many {} does the {} hold?|Why does a {} make noise?|List the parts of a {}|Write a short text about the {}|
How is a {} cleaned?|Who invented the {}?|How many users does the {} allow?|What is the largest {}?|
Was ist ein {}?|Wie lange gilt die Garantie auf {}?|Wie wechsle ich den {}?|Was kostet der {}?|
Was ist der Unterschied zwischen {} und {}?|Wie viele {} passen in den {}?|Welche {} gibt es?|Wer hat {} erfunden?|
Qu'est-ce que {} ?|Comment remplacer le {} ?|Combien co\u00fbte le {} ?|Quelle est la diff\u00e9rence entre {} et {} ?|
\u00bfQu\u00e9 es un {}?|\u00bfC\u00f3mo cambio el {}?|\u00bfCu\u00e1nto cuesta el {}?|\u00bfCu\u00e1l es la diferencia entre {} y {}?
"""
ASKED_OF_ONES_OWN = """
Where is my {}?|Has my {} arrived?|When will my {} be ready?|Why was my {} refused?|How much {} do I have left?|
Did I already pay for the {}?|Cancel my {}|What is the status of my {}?|Who signed our {}?|Show me the {} that I ordered|
Is there {} in stock right now?|What does {} cost today?|What is the current {}?|Who won the {} yesterday?|
Wo ist mein {}?|Wann kommt meine {}?|Warum wurde mein {} abgelehnt?|Wie viel {} habe ich noch?|Wie ist der {} heute?|
O\u00f9 est mon {} ?|Pourquoi ma {} a-t-elle \u00e9t\u00e9 refus\u00e9e ?|Quel est le {} aujourd'hui ?|
\u00bfD\u00f3nde est\u00e1 mi {}?|\u00bfPor qu\u00e9 rechazaron mi {}?|\u00bfCu\u00e1nto {} me queda?
"""
THINGS = """
printer|drum unit|toner|pump|fridge|licence|database|router|battery|contract|server|invoice template|photosynthesis|
interest|vector index|paper tray|scanner|bicycle|visa|tax form|insurance policy|API|function|theorem|parcel|order|
subscription|refund|car|phone plan|loan|mortgage|ticket|salary|report|password|filter|engine|screen|camera|Vertrag|
Drucker|Rechnung|Bestellung|Miete|Pacht|imprimante|commande|contrat|pedido|factura|impresora
"""


def _filled(templates: str) -> list[str]:
    """Each template with a share of the things."""
    draw = random.Random(0)
    things = [each.strip() for each in THINGS.split("|")]
    made = []
    for template in templates.replace("\n", "").split("|"):
        for _ in range(25):
            words = template.strip()
            while "{}" in words:
                words = words.replace("{}", draw.choice(things), 1)
            made.append(words)
    return made


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=Path, required=True)
    corpora: Path = parser.parse_args().corpora
    learn, held = _questions(corpora)
    vectorizer = CountVectorizer(analyzer=features, min_df=3, binary=True)
    rows = vectorizer.fit_transform([text for text, _ in learn])
    labels = np.array([label for _, label in learn])
    model = LogisticRegression(C=0.6, max_iter=4000, class_weight="balanced")
    model.fit(rows, labels)
    names = vectorizer.get_feature_names_out()
    weights = {
        name: round(float(weight), 3) for name, weight in zip(names, model.coef_[0], strict=True) if abs(weight) > 0.04
    }
    seen = model.decision_function(vectorizer.transform([text for text, _ in held]))
    truth = np.array([label for _, label in held])
    limit = float(np.quantile(seen[truth == 1], 1 - CAUGHT))
    print(f"{len(learn)} questions learned from, {len(held)} held out, {len(weights)} weights")
    print(f"not to be kept: {np.mean(seen[truth == 1] >= limit):.3f} recognised")
    print(f"the same for everybody: {np.mean(seen[truth == 0] < limit):.3f} kept")
    OUT.parent.mkdir(exist_ok=True)
    bias = round(float(model.intercept_[0]) - limit, 4)
    OUT.write_text(json.dumps({"bias": bias, "weights": weights}, ensure_ascii=False, separators=(",", ":")) + "\n")


def _questions(corpora: Path) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """What is learned from, and what is held out: other questions of the same kinds."""
    classes = {**dict.fromkeys((MINE + NOW).split(), 1), **dict.fromkeys(ANYBODY.split(), 0)}
    clinc = json.loads((corpora / "clinc150/train_val.json").read_text())
    learn = [(text, classes[intent]) for text, intent in clinc["train"] if intent in classes]
    held = [(text, classes[intent]) for text, intent in clinc["val"] if intent in classes]
    with (corpora / "banking77/train.csv").open(newline="") as file:
        banking = [
            (row["text"], classes[row["category"]]) for row in csv.DictReader(file) if row["category"] in classes
        ]
    ordinary = [
        (json.loads(line)["instruction"], 0) for line in _lines(corpora / "benign_self_instruct/seed_tasks.jsonl")
    ]
    ordinary += [(json.loads(line)["turns"][0], 0) for line in _lines(corpora / "benign_mt_bench/question.jsonl")]
    pairs = json.loads((corpora / "gptcache_pairs/pairs.json").read_text())
    ordinary += [(each["origin"], 0) for each in pairs[::2]]
    asked = re.findall(r"<title>\s*(.*?)\s*</title>", (corpora / "cranfield/cran.qry.xml").read_text(), re.DOTALL)
    ordinary += [(" ".join(each.split()), 0) for each in asked]
    ordinary += [(text, 0) for text in _filled(ASKED_BY_ANYBODY)]
    own = [(text, 1) for text in _filled(ASKED_OF_ONES_OWN)]
    random.Random(0).shuffle(own)
    random.Random(0).shuffle(banking)
    random.Random(0).shuffle(ordinary)
    for rows in (banking, ordinary, own):
        learn += rows[: len(rows) * 4 // 5]
        held += rows[len(rows) * 4 // 5 :]
    return learn, held


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


if __name__ == "__main__":
    main()
