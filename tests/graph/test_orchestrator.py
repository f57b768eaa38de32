"""The serving graph, with a user's own sub-agent and a scripted frontier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import Field

from journeyman.agents.base import Agent
from journeyman.graph.embedding import as_subagent, as_tool
from journeyman.graph.orchestrator import create_orchestrator
from journeyman.graph.standing import NoTrust, Standing
from journeyman.graph.state import Context, Task
from journeyman.models.errors import (
    ConfigError,
    EscalationFailed,
    InvalidTask,
    LoopDetected,
    UnknownAgent,
)
from journeyman.models.types import Reason
from journeyman.traces.recorder import Recorder

from .conftest import ScriptedFrontier
from .triage import KeywordStudent, Ticket, Triage, Triaged

TICKET = Task(agent="triage", input={"text": "The site is down!"})


def high() -> ScriptedFrontier:
    return ScriptedFrontier({"severity": "high"})


def triage() -> Triage:
    return Triage(KeywordStudent())


class Sure(NoTrust):
    """Trusts every attempt above a threshold."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def confidence(self, evidence: Mapping[str, float]) -> float:
        return evidence["keywords"]

    async def standing(self, agent: Agent[Any, Any], release: str) -> Standing:
        return Standing(agent, release, self)


async def test_without_a_certificate_everything_escalates_as_uncertified() -> None:
    frontier = high()
    graph = create_orchestrator([triage()], frontier, store=None)
    result = await graph.ainvoke({"tasks": [TICKET]})
    answer = result["answers"]["triage-1"]
    assert answer.value == {"severity": "high"}
    assert (answer.source, answer.reason) == ("frontier", Reason.UNCERTIFIED)
    assert not answer.certified
    assert answer.cost_microusd == 7
    assert len(frontier.requests) == 1


def test_the_synchronous_door_gives_the_same_answer() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    answer = graph.invoke({"tasks": [TICKET]})["answers"]["triage-1"]
    assert (answer.value, answer.source) == ({"severity": "high"}, "frontier")


async def test_trust_uncertified_accepts_and_says_so() -> None:
    frontier = high()
    graph = create_orchestrator([triage()], frontier, store=None)
    result = await graph.ainvoke({"tasks": [TICKET]}, context=Context(trust_uncertified=True))
    answer = result["answers"]["triage-1"]
    assert (answer.source, answer.certified, answer.reason) == ("student", False, None)
    assert frontier.requests == []


async def test_a_context_given_as_a_mapping_counts() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    result = await graph.ainvoke({"tasks": [TICKET]}, context={"trust_uncertified": True})
    assert result["answers"]["triage-1"].source == "student"


@pytest.mark.parametrize(
    ("threshold", "source", "reason", "certified"),
    [(0.2, "student", None, True), (0.9, "frontier", Reason.LOW_CONFIDENCE, False)],
)
async def test_the_gate_holds_confidence_against_the_certified_threshold(
    threshold: float, source: str, reason: Reason | None, certified: bool
) -> None:
    graph = create_orchestrator([triage()], high(), store=None, trust=Sure(threshold))
    answer = (await graph.ainvoke({"tasks": [TICKET]}))["answers"]["triage-1"]
    assert (answer.source, answer.reason, answer.certified) == (source, reason, certified)
    assert answer.confidence == pytest.approx(0.25)


async def test_a_failed_hard_check_escalates_even_under_trust() -> None:
    graph = create_orchestrator([triage()], high(), store=None, trust=Sure(0.0))
    task = Task(agent="triage", input={"text": "   "})
    answer = (await graph.ainvoke({"tasks": [task]}))["answers"]["triage-1"]
    assert (answer.source, answer.reason) == ("frontier", Reason.INVALID_OUTPUT)


async def test_forced_escalation_asks_the_frontier() -> None:
    graph = create_orchestrator([triage()], high(), store=None, trust=Sure(0.0))
    result = await graph.ainvoke({"tasks": [TICKET]}, context=Context(force_escalation=True))
    assert result["answers"]["triage-1"].reason == Reason.FORCED


async def test_a_student_that_crashes_escalates_with_its_reason() -> None:
    class Broken(KeywordStudent):
        def predict(self, items: Any) -> list[float]:
            raise RuntimeError("weights are gone")

    graph = create_orchestrator([Triage(Broken())], high(), store=None, trust=Sure(0.0))
    answer = (await graph.ainvoke({"tasks": [TICKET]}))["answers"]["triage-1"]
    assert (answer.source, answer.reason) == ("frontier", Reason.STUDENT_ERROR)


async def test_when_the_frontier_fails_too_the_run_fails_by_default(recorder: Recorder) -> None:
    graph = create_orchestrator([triage()], ScriptedFrontier(None), store=recorder)
    with pytest.raises(EscalationFailed, match="scripted frontier is down"):
        await graph.ainvoke({"tasks": [TICKET]})
    (run,) = recorder.store.runs(limit=5)
    assert run.status == "error"
    assert run.error_type == "EscalationFailed"


async def test_frontier_failure_may_return_the_student_marked_as_uncertified() -> None:
    graph = create_orchestrator([triage()], ScriptedFrontier(None), store=None)
    context = Context(on_frontier_failure="return_uncertified")
    answer = (await graph.ainvoke({"tasks": [TICKET]}, context=context))["answers"]["triage-1"]
    assert (answer.source, answer.certified, answer.reason) == (
        "student",
        False,
        Reason.UNCERTIFIED,
    )
    assert "down" in (answer.error or "")


async def test_frontier_failure_may_queue_the_task() -> None:
    graph = create_orchestrator([triage()], ScriptedFrontier(None), store=None)
    context = Context(on_frontier_failure="queue")
    answer = (await graph.ainvoke({"tasks": [TICKET]}, context=context))["answers"]["triage-1"]
    assert (answer.source, answer.value) == ("none", None)


async def test_without_a_frontier_escalation_says_what_to_do() -> None:
    graph = create_orchestrator([triage()], None, store=None)
    with pytest.raises(EscalationFailed, match="no frontier is configured"):
        await graph.ainvoke({"tasks": [TICKET]})


class Escort(Triage):
    """Consumes the triage's answer."""

    name = "escort"
    consumes = ("triage",)

    def with_answers(self, task: Ticket, answers: Mapping[str, Any]) -> Ticket:
        return Ticket(text=f"{task.text} [{answers['triage']['severity']}]")


async def test_a_consumer_runs_in_a_later_wave_with_the_answer_in_hand() -> None:
    frontier = high()
    agents = [Escort(KeywordStudent()), triage()]
    graph = create_orchestrator(agents, frontier, store=None)
    tasks = [Task(agent="escort", input={"text": "hello"}), TICKET]
    events = [
        event
        async for event in graph.astream({"tasks": tasks}, stream_mode="custom", subgraphs=False)
    ]
    (plan,) = [event for event in events if event["type"] == "plan"]
    assert [[task["agent"] for task in wave] for wave in plan["waves"]] == [["triage"], ["escort"]]
    assert "hello [high]" in frontier.requests[1].messages[0]["content"]


async def test_the_stream_tells_every_step_in_order() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    parts = [
        part
        async for part in graph.astream({"tasks": [TICKET]}, stream_mode="custom", subgraphs=True)
    ]
    kinds = [event["type"] for _, event in parts]
    assert kinds == ["plan", "attempt", "gate", "escalation", "answer"]


def test_the_stream_works_synchronously() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    parts = graph.stream({"tasks": [TICKET]}, stream_mode="custom", subgraphs=True)
    assert [event["type"] for _, event in parts][-1] == "answer"


async def test_plain_messages_reach_a_lone_agent() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    result = await graph.ainvoke({"messages": [HumanMessage("the site is down")]})
    assert result["answers"]["triage-1"].value == {"severity": "high"}
    assert '"severity": "high"' in result["messages"][-1].text


async def test_messages_for_several_agents_need_a_router() -> None:
    graph = create_orchestrator([triage(), Escort(KeywordStudent())], high(), store=None)
    with pytest.raises(ConfigError, match="router"):
        await graph.ainvoke({"messages": [HumanMessage("hello")]})


async def test_a_thread_keeps_its_conversation_but_not_its_answers() -> None:
    graph = create_orchestrator([triage()], high(), store=None, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"tasks": [Task(agent="triage", input={"text": "a"}, id="first")]}, config)
    result = await graph.ainvoke({"messages": [HumanMessage("again")]}, config)
    assert set(result["answers"]) == {"triage-1"}
    assert len(result["messages"]) == 3


async def test_unknown_agents_are_named_with_the_known_ones(recorder: Recorder) -> None:
    graph = create_orchestrator([triage()], high(), store=recorder)
    with pytest.raises(UnknownAgent, match=r"'nobody'.*triage"):
        await graph.ainvoke({"tasks": [Task(agent="nobody", input={})]})
    (run,) = recorder.store.runs(limit=5)
    assert run.status == "error"


async def test_a_task_that_does_not_fit_is_refused_with_the_field() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    with pytest.raises(InvalidTask, match=r"Ticket: text"):
        await graph.ainvoke({"tasks": [Task(agent="triage", input={"body": "x"})]})


async def test_two_tasks_may_not_share_an_id() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    task = Task(agent="triage", input={"text": "x"}, id="same")
    with pytest.raises(InvalidTask, match="'same'"):
        await graph.ainvoke({"tasks": [task, task]})


async def test_the_step_budget_ends_a_run() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    tasks = [Task(agent="triage", input={"text": str(n)}) for n in range(5)]
    with pytest.raises(LoopDetected, match="more than 4"):
        await graph.ainvoke({"tasks": tasks}, context=Context(max_steps=4))


async def test_names_must_be_unique_and_free() -> None:
    with pytest.raises(ConfigError, match="'triage'"):
        create_orchestrator([triage(), triage()], None, store=None)


def test_agents_that_consume_each_other_are_refused() -> None:
    class Circular(Triage):
        consumes = ("escort",)

    with pytest.raises(ConfigError, match="circle"):
        create_orchestrator(
            [Circular(KeywordStudent()), Escort(KeywordStudent())], None, store=None
        )


async def test_inside_a_host_graph_it_records_under_the_hosts_thread(recorder: Recorder) -> None:
    graph = create_orchestrator([triage()], high(), store=recorder)
    host = StateGraph(MessagesState)
    host.add_node("journeyman", graph)
    host.add_edge(START, "journeyman")
    host.add_edge("journeyman", END)
    compiled = host.compile(checkpointer=InMemorySaver())
    parts = [
        part
        async for part in compiled.astream(
            {"messages": [HumanMessage("down again")]},
            {"configurable": {"thread_id": "host-7"}},
            stream_mode="custom",
            subgraphs=True,
        )
    ]
    assert [event["type"] for _, event in parts][-1] == "answer"
    (run,) = recorder.store.runs(limit=5)
    assert (run.status, run.session_id) == ("ok", "host-7")


async def test_as_a_langchain_tool_it_takes_typed_arguments() -> None:
    agent = triage()
    tool = as_tool(create_orchestrator([agent], high(), store=None), agent)
    assert set(tool.args) == {"text"}
    told = await tool.ainvoke({"text": "down"})
    assert (told["value"], told["source"]) == ({"severity": "high"}, "frontier")
    assert tool.invoke({"text": "down"})["source"] == "frontier"


async def test_as_a_deep_agents_sub_agent_it_speaks_in_messages() -> None:
    sub = as_subagent(create_orchestrator([triage()], high(), store=None), description="triage")
    result = await sub["runnable"].ainvoke({"messages": [HumanMessage("down")]})
    assert "high" in result["messages"][-1].text


async def test_every_step_of_a_run_is_on_record_when_it_returns(recorder: Recorder) -> None:
    graph = create_orchestrator([triage()], high(), store=recorder)
    result = await graph.ainvoke({"tasks": [TICKET]})
    detail = recorder.store.run(result["run_id"])
    assert detail.run.status == "ok"
    assert detail.run.cost_microusd == 7
    (root,) = detail.spans
    (agent,) = root.children
    assert (root.span.name, agent.span.name) == ("journeyman", "invoke_agent triage")
    names = [node.span.name for node in agent.children]
    assert names == ["attempt KeywordStudent", "chat scripted"]
    (attempt,) = detail.attempts
    assert (attempt.decision, attempt.reason, attempt.source) == (
        "escalate",
        "uncertified",
        "frontier",
    )
    (escalation,) = detail.escalations
    assert escalation.agreement is True


async def test_an_interrupted_run_resumes_and_is_no_error(recorder: Recorder) -> None:
    graph = create_orchestrator(
        [triage()],
        high(),
        store=recorder,
        checkpointer=InMemorySaver(),
        interrupt_before=["collect"],
    )
    config = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"tasks": [TICKET]}, config)
    result = await graph.ainvoke(None, config)
    assert result["answers"]["triage-1"].value == {"severity": "high"}
    (run,) = recorder.store.runs(limit=5)
    assert run.status == "ok"


async def test_the_router_plans_and_its_plan_runs(recorder: Recorder) -> None:
    from journeyman.agents.routing import Routing, routes_of
    from journeyman.models.students.classifier import Classification

    class ByWord:
        def predict(self, items: Any) -> list[Classification]:
            return [
                Classification(
                    {"triage": 0.9, "escort": 0.9 if "escort" in text else 0.1},
                    {"triage": 0.5, "escort": 0.5},
                    taught=True,
                    multi_label=True,
                )
                for text in items
            ]

        def fingerprint(self) -> str:
            return "by-word"

    agents = [triage(), Escort(KeywordStudent())]
    router = Routing(routes_of(agents), ByWord(), agents=agents)
    frontier = high()
    graph = create_orchestrator(agents, frontier, store=recorder, router=router)
    context = Context(trust_uncertified=True)
    result = await graph.ainvoke({"messages": [HumanMessage("down, escort me")]}, context=context)
    assert {answer.agent for answer in result["answers"].values()} == {
        "routing",
        "triage",
        "escort",
    }
    nobody = await graph.ainvoke({"messages": [HumanMessage("?")]}, context=context)
    assert {answer.agent for answer in nobody["answers"].values()} == {"routing", "triage"}
    assert isinstance(agents[0].output_type.model_validate({"severity": "low"}), Triaged)


async def test_a_turn_whose_plan_failed_leaves_no_tasks_to_the_next(recorder: Recorder) -> None:
    graph = create_orchestrator([triage()], high(), store=recorder, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    with pytest.raises(UnknownAgent):
        await graph.ainvoke({"tasks": [Task(agent="nobody", input={})]}, config)
    result = await graph.ainvoke({"messages": [HumanMessage("down")]}, config)
    assert set(result["answers"]) == {"triage-1"}


async def test_an_entry_that_is_no_task_is_refused_with_its_key() -> None:
    graph = create_orchestrator([triage()], high(), store=None)
    with pytest.raises(InvalidTask, match="agnt"):
        await graph.ainvoke({"tasks": [{"agent": "triage", "input": {}, "agnt": "x"}]})


async def test_a_run_resumed_by_another_process_keeps_its_tags_and_tells_its_error(
    recorder: Recorder,
) -> None:
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "1"}}
    first = create_orchestrator(
        [triage()], None, store=recorder, checkpointer=saver, interrupt_after=["plan"]
    )
    await first.ainvoke({"tasks": [TICKET]}, config, context=Context(tags=("night",), epoch=3))
    # A graph that knows nothing of the run stands for another process.
    second = create_orchestrator([triage()], None, store=recorder, checkpointer=saver)
    with pytest.raises(EscalationFailed):
        await second.ainvoke(None, config)
    (run,) = recorder.store.runs(limit=5)
    assert (run.status, run.tags) == ("error", ["night"])


def test_a_graph_invoked_within_its_own_node_is_refused_instead_of_hanging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Nested(Triage):
        def agrees(self, first: Triaged, second: Triaged) -> bool:
            graph.invoke({"tasks": [TICKET]})
            return True

    graph = create_orchestrator([Nested(KeywordStudent())], high(), store=None)
    result = graph.invoke({"tasks": [TICKET]})
    assert result["answers"]["triage-1"].source == "frontier"
    assert "await `ainvoke`" in caplog.text


async def test_an_agent_is_given_the_answers_it_consumes_and_no_others() -> None:
    given: list[set[str]] = []

    class Curious(Escort):
        name = "curious"

        def with_answers(self, task: Ticket, answers: Mapping[str, Any]) -> Ticket:
            given.append(set(answers))
            return super().with_answers(task, answers)

    class Bystander(Triage):
        name = "bystander"

    agents = [triage(), Bystander(KeywordStudent()), Curious(KeywordStudent())]
    graph = create_orchestrator(agents, high(), store=None)
    tasks = [Task(agent=agent.name, input={"text": "down"}) for agent in agents]
    await graph.ainvoke({"tasks": tasks})
    assert given
    assert all(names == {"triage"} for names in given)


async def test_an_input_with_an_alias_reaches_its_agent() -> None:
    class Mail(Ticket):
        sender: str = Field(alias="from")

    class Post(Triage):
        name = "post"
        input_type = Mail

    graph = create_orchestrator([Post(KeywordStudent())], high(), store=None)
    result = await graph.ainvoke({"tasks": [Task(agent="post", input={"text": "a", "from": "b"})]})
    assert result["answers"]["post-1"].source == "frontier"


async def test_a_request_that_could_not_be_routed_is_not_told_as_out_of_scope() -> None:
    router = Triage(KeywordStudent())
    router.name = "router"
    graph = create_orchestrator([triage()], None, store=None, router=router)
    result = await graph.ainvoke(
        {"messages": [HumanMessage("down")]}, context=Context(on_frontier_failure="queue")
    )
    assert "could not be routed" in result["messages"][-1].text


@pytest.mark.parametrize("wrong", [{"on_frontier_failure": "quue"}, {"max_steps": 0}])
def test_settings_of_a_run_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Context(**wrong)


async def test_a_bug_in_an_agents_own_code_follows_the_failure_policy_and_is_on_record(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Triage):
        def parse_frontier(self, task: Ticket, attempt: Any, data: Mapping[str, Any]) -> Triaged:
            raise KeyError("oops")

    graph = create_orchestrator([Buggy(KeywordStudent())], high(), store=recorder)
    context = Context(on_frontier_failure="queue")
    result = await graph.ainvoke({"tasks": [TICKET]}, context=context)
    answer = result["answers"]["triage-1"]
    assert (answer.source, answer.cost_microusd) == ("none", 7)
    assert "KeyError" in (answer.error or "")
    (attempt,) = recorder.store.run(result["run_id"]).attempts
    assert attempt.cost_microusd == 7
    assert "failed on the frontier's answer" in caplog.text


async def test_answers_that_cannot_be_compared_stand_without_agreement(recorder: Recorder) -> None:
    class Buggy(Triage):
        def agrees(self, first: Triaged, second: Triaged) -> bool:
            raise KeyError("oops")

    graph = create_orchestrator([Buggy(KeywordStudent())], high(), store=recorder)
    result = await graph.ainvoke({"tasks": [TICKET]})
    assert result["answers"]["triage-1"].source == "frontier"
    (escalation,) = recorder.store.run(result["run_id"]).escalations
    assert escalation.agreement is None


async def test_a_run_that_fails_late_still_tells_what_it_cost(recorder: Recorder) -> None:
    class Second(Triage):
        name = "second"
        consumes = ("triage",)

        def parse_frontier(self, task: Ticket, attempt: Any, data: Mapping[str, Any]) -> Triaged:
            raise KeyError("oops")

    agents = [triage(), Second(KeywordStudent())]
    graph = create_orchestrator(agents, high(), store=recorder)
    tasks = [TICKET, Task(agent="second", input={"text": "x"})]
    with pytest.raises(EscalationFailed):
        await graph.ainvoke({"tasks": tasks})
    (run,) = recorder.store.runs(limit=2)
    assert (run.status, run.num_tasks, run.num_escalations, run.cost_microusd) == (
        "error",
        2,
        2,
        14,
    )


async def test_a_checkpoint_holds_nothing_that_a_strict_checkpointer_would_refuse(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strict = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    graph = create_orchestrator([triage()], high(), store=None)
    host = StateGraph(MessagesState)
    host.add_node("journeyman", graph)
    host.add_edge(START, "journeyman")
    host.add_edge("journeyman", END)
    config = {"configurable": {"thread_id": "1"}}
    compiled = host.compile(checkpointer=strict)
    for _ in range(2):
        await compiled.ainvoke({"messages": [HumanMessage("down")]}, config)
    own = create_orchestrator(
        [triage()], high(), store=None, checkpointer=strict, interrupt_before=["collect"]
    )
    config = {"configurable": {"thread_id": "2"}}
    await own.ainvoke({"tasks": [TICKET]}, config)
    result = await own.ainvoke(None, config)
    assert result["answers"]["triage-1"].value == {"severity": "high"}
    assert "eserializ" not in caplog.text
