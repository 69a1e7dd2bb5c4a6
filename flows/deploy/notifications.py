"""Whom the server tells what went wrong: each piece of news is an automation that sends a message through a block.

Where it is sent, and the secrets that takes, are in the block, which lives in Prefect alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import BlockDocument
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from flows.deploy.lost_runs import install
from flows.server.children import LOST
from flows.server.pulse import ALIVE, ENDED
from infra.errors import UserError
from infra.upkeep.runs import LOST_AFTER_S

WEBHOOK = "webhook"
"""The type of block that is called with JSON; others are told a subject and a text, as `notify` takes them."""


@dataclass(frozen=True)
class News:
    """What people are told of: an event, or silence after one; subject and text are templates of Prefect's."""

    name: str
    trigger: EventTrigger
    subject: str
    text: str


def _on(event: str) -> EventTrigger:
    return EventTrigger(expect={event}, posture=Posture.Reactive, threshold=1)


_STAGE = """
recipe: {{ event.payload.recipe }}
stage: {{ event.payload.stage }}
artifact: {{ event.payload.artifact }}
run: {{ event.payload.run }}
"""
NEWS = (
    News(
        name="instaflow: tell of failed stages",
        trigger=_on("instaflow.stage.failed"),
        subject="{{ event.payload.recipe }}: {{ event.payload.stage }} failed",
        text=f"""{{{{ event.payload.error }}}}
{_STAGE}
What was made is kept: mend that, run the recipe again, and it goes on from there.
More: instaflow status {{{{ event.payload.run }}}}""",
    ),
    News(
        name="instaflow: tell of silent runs",
        trigger=_on(f"prefect.flow-run.{LOST}"),
        subject="{{ flow_run.name }}: no sign of life",
        text="""{{ flow_run.name }}: {{ event.payload.validated_state.message }}

tags: {{ flow_run.tags | join(', ') }}

Its machine is gone, or cut off. Another worker of its pool takes it and goes on from its last checkpoint.
If there is none, start one: instaflow worker POOL""",
    ),
    News(
        name="instaflow: tell of silent terminals",
        trigger=EventTrigger(
            for_each={"prefect.resource.id"},
            after={ALIVE},
            expect={ALIVE, ENDED},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=LOST_AFTER_S),
        ),
        subject="{{ event.payload.recipe }}: no sign of life",
        text=f"""No sign of life for {LOST_AFTER_S:.0f} s from {{{{ event.payload.host }}}}.

recipe: {{{{ event.payload.recipe }}}}
stage: {{{{ event.payload.stage }}}}
run: {{{{ event.payload.run }}}}

It was started in a terminal, so no worker takes it over. If it is gone, run the recipe again: it goes on from there.
More: instaflow status {{{{ event.payload.run }}}}""",
    ),
    News(
        name="instaflow: tell of models that got worse",
        trigger=_on("instaflow.evaluation.worse"),
        subject="{{ event.payload.recipe }}: worse than the last one",
        text=f"""{{{{ event.payload.told | join('\n') }}}}
{_STAGE}before: {{{{ event.payload.before }}}}

What each was made of: instaflow artifacts lineage {{{{ event.payload.artifact }}}}""",
    ),
    News(
        name="instaflow: tell of budgets",
        trigger=_on("instaflow.run.budget"),
        subject="{{ event.payload.recipe }}: over its budget",
        text=f"""{{{{ event.payload.error }}}}
{_STAGE}""",
    ),
)


def automations(block: BlockDocument) -> Iterator[AutomationCore]:
    """An automation for each piece of news, which sends it through the block."""
    for news in NEWS:
        yield AutomationCore(
            name=news.name,
            description=f"Sends it through {_name(block)}.",
            trigger=news.trigger,
            actions=[_action(news, block)],
        )


def _action(news: News, block: BlockDocument) -> CallWebhook | SendNotification:
    if _type(block) != WEBHOOK:
        return SendNotification(block_document_id=block.id, subject=news.subject, body=news.text)
    told = f"{{% set subject %}}{news.subject}{{% endset %}}{{% set text %}}{news.text}{{% endset %}}"
    message = "{'event': event.event, 'subject': subject, 'text': text, 'payload': event.payload}"
    return CallWebhook(block_document_id=block.id, payload=f"{told}{{{{ {message} | tojson }}}}")


def tell_through(block: str) -> None:
    """Have the server send all news through a block, named TYPE/NAME, and through no other that was named before.

    Raises UserError for a block that is not there, and for one that sends no messages.
    """
    with get_client(sync_client=True) as client:
        install(client, automations(_find(client, block)))


def _find(client: SyncPrefectClient, block: str) -> BlockDocument:
    kind, _, name = block.partition("/")
    try:
        found = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound as error:
        raise UserError(
            f"--notify {block}: the server has no such block. Make one on its page Blocks (Webhook, Slack Webhook,"
            " Sendgrid Email, ...) and name it as TYPE/NAME, like webhook/team."
        ) from error
    if kind != WEBHOOK and "notify" not in (found.block_schema.capabilities if found.block_schema else ()):
        raise UserError(f"--notify {block}: sends no messages. Name a block that does: webhook, slack-webhook, ...")
    return found


def _type(block: BlockDocument) -> str:
    return block.block_type.slug if block.block_type else ""


def _name(block: BlockDocument) -> str:
    return f"{_type(block)}/{block.name}"
