"""Words that may stand in each other's place without changing what is asked. Sorted by what they say."""

from __future__ import annotations

from functools import lru_cache

from gateway.contract.terms import terms

_GROUPS = """
use utilize utilise employ apply leverage|make create build construct generate produce craft form establish compose devise
formulate|show display present reveal demonstrate illustrate exhibit|change modify alter update edit adjust amend revise|
convert transform turn translate cast|get obtain receive acquire gain retrieve fetch procure access|give provide supply
offer furnish deliver grant|delete remove erase eliminate drop clear discard|begin start commence initiate launch|
end finish stop conclude terminate complete|buy purchase acquire order|sell vend market|help assist aid support|
need require demand necessitate|want wish desire|allow permit enable let facilitate authorize authorise|
specify indicate define state designate determine declare denote|contain include comprise incorporate hold encompass|
choose select pick opt|find locate discover detect identify|search look seek hunt|run execute launch perform carry|
do perform accomplish achieve|achieve attain reach accomplish|return yield give output produce|pass provide supply give
hand|set configure adjust establish define|install setup deploy set|store save keep retain preserve|
load open import read|upload push post send|send transmit dispatch forward submit ship|share distribute exchange|
combine merge join unite unify consolidate integrate|split divide separate partition|split splits division divisions
partition partitions portion|connect link attach join associate bind|check verify confirm validate test examine inspect
ensure|make-sure ensure guarantee|explain describe clarify elucidate outline detail|mean signify denote represent stand|
compute calculate determine work|recompute recalculate|count number quantity amount total|enhance improve boost better
augment upgrade|fix repair mend resolve solve correct remedy|solve resolve tackle address|problem issue difficulty trouble
error fault|error mistake bug failure|break damage|avoid prevent avert circumvent|handle manage process treat deal manipulate
work|control manage govern regulate|learn study understand grasp comprehend|teach instruct train educate|know understand
realize|think believe consider|say tell state mention|ask inquire enquire request query|answer reply respond response|
write compose author draft|read scan peruse|speak talk|call invoke ring phone|visit attend|go travel move proceed|
come arrive|leave depart exit|move transfer relocate migrate shift|switch change swap toggle transition|replace substitute
exchange swap|reset restore|restart reboot|return refund|cancel revoke annul abort|renew extend|extend expand enlarge
lengthen|expire lapse|keep retain maintain preserve|hold contain keep|add insert append include attach|
gather collect assemble accumulate|group collate collection cluster|organize organise arrange structure order sort|
sort order arrange rank|filter select|compare contrast|measure gauge assess|evaluate assess appraise judge rate|
analyze analyse examine study explore investigate|explore browse investigate examine|cause lead result trigger|
affect influence impact|happen occur|become turn|grow increase expand rise|shrink reduce decrease diminish lessen lower|
reduce decrease lower diminish lessen cut|increase raise augment boost grow|pay settle|cost price charge fee expense|
fee charge|earn make gain|spend pay|borrow lend|reserve book|book reserve|wait await|stay remain|live reside dwell|
die perish|eat consume|drink consume|cook prepare|prepare ready|clean wash|wear put|carry bear transport|lift raise|
print output|type enter input key|enter input insert type|click tap press push hit|press push|open access launch|
view see watch look display|see view observe notice|follow adhere obey observe|refer consult|redirect forward refer|
recommend suggest advise propose|suggest propose recommend|warn alert notify|notify inform alert tell|register enroll
enrol sign|subscribe register|login signin log|sign-in log-in login|logout signout|belong pertain|own possess have|
lose misplace|protect secure safeguard guard defend|secure safe protected|safe secure|encrypt cipher|copy duplicate
replicate|duplicate copy repeated|shuffle randomize randomise|unpack extract decompress unzip|extract obtain derive|
parse interpret read|yield return give|represent signify describe|supports accommodates handles|support handle accommodate|
require need|consist comprise include|differ vary|match correspond align fit|fit suit match|
purpose goal aim objective intention point intent|way method manner means approach procedure process technique how steps|
method technique approach procedure|function method procedure routine|step stage phase|task job project assignment|
job work position occupation|tool instrument utility|feature capability functionality function|option choice possibility
alternative|parameter argument setting option|setting configuration preference option|field column attribute|
type kind sort variety category form|kind type sort|example instance sample illustration|sample example|
name title label designation|title name heading|label tag name|description explanation account|reason cause rationale
motive|effect impact consequence result influence|result outcome output consequence|benefit advantage perk merit|
drawback disadvantage downside con|limitation restriction constraint limit|limit maximum cap|requirement prerequisite
condition|rule regulation guideline|law statute legislation|instruction direction guide guidance|guide manual tutorial
handbook instructions|documentation docs documents manual reference|document file paper|file document|folder directory|
directory folder path|path location route|place location spot site position|location place site position|area region zone
district|country nation state|town city|house home residence|car automobile vehicle auto|bike bicycle|phone telephone
cellphone mobile smartphone|computer pc machine|laptop notebook|picture image photo photograph|film movie|song track tune|
book volume|article piece|message note text|mail email e-mail|letter mail|parcel package shipment|shipment delivery
shipping|delivery shipping shipment|person individual human|people persons individuals humans folks|child kid|children
kids|doctor physician|lawyer attorney|teacher instructor|customer client buyer shopper|client customer|company firm
business enterprise corporation organization organisation|staff employees personnel|employee worker staffer|boss manager
supervisor|team group crew|user person|money cash funds|salary wage pay income|bill invoice|discount reduction|
sale discount|shop store outlet|product item article good|goods products items merchandise|price cost rate|
warranty guarantee|period duration term time span|duration length period|length size extent|size dimensions magnitude
extent|dimension size|shape form dimensions|speed velocity pace rate|speed velocity|weight mass|height altitude|
distance range|amount quantity number volume|part section portion piece component segment|section part area|
component part element|element component item|set collection group|collection set group|list catalog catalogue|
row record line|table grid|data information|information info data details|detail information particular|
content contents material|text wording|word term|term word expression|sentence phrase|meaning sense definition|
definition meaning|structure layout schema organization format|schema structure layout|format layout form|
version release edition|release version launch|change modification alteration update|difference distinction discrepancy
contrast|similarity likeness|relation relationship connection|connection link|question query inquiry|idea concept notion
thought|concept idea notion|theory hypothesis|fact truth|opinion view belief|story tale|history past|future|
beginning start outset|end ending conclusion finish|top peak|source origin|origin source beginning|reference documentation|
app application program|application app program software|program software application|software program|website site page
webpage|site website page|page webpage|network|internet web|server host|database db|code script|script code program|
library framework package|framework library|environment ecosystem setting|platform system tool|system platform|
wrapper container|container wrapper|repository repo depository|community collective|performance effectiveness efficiency|
big large huge great sizable|large big huge great|small little tiny|fast quick rapid speedy swift|faster quicker|
fastest quickest|slow sluggish|easy simple straightforward|simple easy basic|hard difficult tough challenging|
complex complicated intricate|good great excellent fine|best optimal top finest|bad poor|better superior|
important significant essential crucial key vital|necessary needed required essential|needed required necessary|
useful helpful beneficial advantageous valuable handy|helpful beneficial useful advantageous|possible feasible|
available accessible obtainable|different distinct various diverse|several multiple various many numerous|multiple several
many|certain specific particular|specific particular certain|particular specific certain|common usual frequent typical
standard|usual normal typical|normal regular standard|standard common default|main primary principal chief key major|
whole entire complete full|entire whole complete full|complete full entire|full complete|new fresh novel recent|
old aged ancient|additional extra further more|extra additional|another different other|equal identical same|
same identical equal|similar alike comparable|correct right accurate proper|exact precise|exactly precisely|
appropriate suitable proper relevant|suitable appropriate fitting|relevant pertinent|happy glad pleased|sad unhappy|
angry mad|beautiful pretty lovely|smart clever intelligent|rich wealthy|poor impoverished|sick ill|ill sick|
tired weary exhausted|popular well-known famous|famous renowned well-known celebrated|well-known famous|strange odd weird|
quickly rapidly fast swiftly|slowly gradually|gradually progressively|often frequently regularly|usually typically
generally normally|sometimes occasionally|always constantly|entirely completely fully wholly|approximately about roughly
around|inside within in|outside beyond|previous prior earlier former|previously before earlier|following next subsequent|
later afterwards subsequently|currently presently now|immediately instantly straightaway|automatically|also too
additionally|therefore thus hence|however though|via through using|per each|without lacking|invent devise create|inventor
creator|create-d founded|found establish|discover find|author writer|write pen|paint draw|capital|population inhabitants|
inhabitants residents population|mountain peak|ocean sea|sea ocean|stone rock|shop buy|soil earth ground|earth world globe|
world globe|sickness illness disease|illness disease sickness|disease illness|symptom sign|treat cure heal|cure heal|
medicine drug medication|drug medication medicine|pain ache|vaccine|recipe|meal dish|dish meal|food|holiday vacation|
vacation holiday|trip journey travel|journey trip|flight|ticket|hotel|room|job career|interview|resume cv|contract
agreement|agreement contract|sign|insurance coverage|policy|tax|loan credit|bank|account|password passcode|passcode
password pin|username user-name|device gadget machine|screen display monitor|monitor screen display|battery|charger|
cable cord wire|printer|cartridge|tray|pause suspend halt|halt stop|resume continue|continue proceed resume|
try attempt|attempt try|succeed work|fail|crash fail|hang freeze|freeze hang|download obtain fetch acquire get
"""


@lru_cache(maxsize=1)
def _groups_of() -> dict[str, set[int]]:
    groups: dict[str, set[int]] = {}
    for number, group in enumerate(_GROUPS.replace("\n", " ").split("|")):
        for word in group.split():
            for form in {word, (terms(word) or [word])[0]}:
                groups.setdefault(form, set()).add(number)
    return groups


def synonymous(one: str, other: str) -> bool:
    """Whether two words in small letters stand in one group."""
    groups = _groups_of()
    ones = groups.get(one) or groups.get((terms(one) or [one])[0])
    others = groups.get(other) or groups.get((terms(other) or [other])[0])
    return ones is not None and others is not None and not ones.isdisjoint(others)
