"""Doors: whoever reads rows, or what the ledger tells of them, asks the one policy, or is on a list with the reason."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dagster_project.cli import main

ROOT = Path(__file__).parent.parent
PACKAGES = ("catalog", "assets", "validations", "dagster_project")

# A call of one of these asks the policy, or whoever asked it.
ASKS = {"decide", "judged", "tells_of", "access", "decision", "select", "answer", "is_private", "permitted_terms"}
# These give rows, or what is known of them: files of the warehouse, reports, stages, what rows say of themselves.
READS = {
    "files", "scan", "plan_files", "opened", "said_in", "keep_permitted", "read_row_group", "iter_batches", "reports",
    "report", "stages", "stage", "recorded", "handed_over", "snapshot", "snapshot_by_sha256",
}  # fmt: skip
ROW_FACTS = {"row_terms", "quarantine"}
OPENERS = {"pq.read_table", "pq.ParquetFile", "pq.ParquetDataset", "warehouse.connect"}
# These go through other bytes of the same names: a source's own, a contract's.
READERS_OF_ANYTHING_ELSE = ("assets.",)

SAFE = {
    # What writes rows, or judges them before anybody sees them.
    "catalog.parquet:_sorted": "sorts what is being staged",
    "catalog.bucket_sort:_ranks": "ranks what is being staged",
    "catalog.bucket_sort:_dealt": "sorts what is being staged",
    "catalog.standards:_imas_dictionary": "a dictionary's own file",
    "catalog.parquet:row_terms": "counts the terms of what is being staged",
    "catalog.warehouse:Warehouse._commit_table": "passes on what rows say of themselves to the ledger",
    "catalog.warehouse:Warehouse.files": "is what doors read through; its callers are looked at",
    "validations.expectations:profile": "the gate's measures; shown through is_private",
    "validations.expectations:present": "the gate's measures: values of the contract that the rows lack",
    "validations.expectations:contested_keys": "the gate's second pass",
    "validations.terms:stated_licences": "evidence for the policy",
    "dagster_project.staging:Staging._files": "lets the gate read what is being staged",
    "dagster_project.staging:_TableStaging.stage": "stages",
    "dagster_project.staging:Staging.run": "stages",
    "dagster_project.staging:_TableStaging.discard": "removes what was staged",
    "dagster_project.staging:_TableStaging._refuse": "puts into quarantine",
    "dagster_project.curate:fetch": "what was fetched last",
    "dagster_project.curate:stage": "stages",
    "dagster_project.publish:commit": "publishes to the ledger",
    "dagster_project.publish:_refuse_moved": "whether another version was committed since",
    "dagster_project.check:_dataset": "a contributor's own sample, in a folder that is gone afterwards",
    "dagster_project.check:_refused": "a contributor's own sample",
    "dagster_project.resources:LedgerIOManager.load_input": "passes a record to the next asset",
    # What takes rows back, or out of the way.
    "dagster_project.tombstones:kept_files": "tells which raw files stay",
    "dagster_project.tombstones:remove_raw": "removes",
    "dagster_project.vacuum:vacuum": "removes",
    "dagster_project.withdraw:withdraw": "removes",
    "dagster_project.withdraw:_remove": "removes",
    "dagster_project.withdraw:sharing": "which versions go with a withdrawn one",
    "dagster_project.withdraw:_shares": "which versions went with a withdrawn one",
    "dagster_project.tombstones:_bytes_that_stand": "tells which raw files stay",
    "dagster_project.withdraw_command:withdraw": "whether there is such a version",
    "dagster_project.show:versions": "whether there ever was a version",
    "dagster_project.show:withheld": "whether there ever was a version",
    "dagster_project.automation:source_sensor": "whether the source has changed since; tells no more than that",
    # The ledger and the readers of release files themselves; their callers are looked at.
    "catalog.query:Door._open": "its views are those of Door.select, which asks",
    "catalog.released_rows:opened": "its callers are looked at",
    "catalog.released_rows:said_in": "its callers are looked at",
    "catalog.released_rows:keep_permitted": "copies what it is told is permitted; its callers are looked at",
    "catalog.ledger:Ledger.passed_report": "the gate before a commit",
    "catalog.ledger:Ledger.version": "its callers are looked at",
    "catalog.ledger:Ledger.current": "its callers are looked at",
    "catalog.ledger:Ledger.runs_taken_back": "what is hidden",
    "catalog.verify:_content_problems": "reads a release, which is in others' hands",
    "catalog.verify:_recorded": "whether the house has the version, and evidence for the policy",
    "catalog.release_catalog:_rows_of": "the text of views over released files",
    "catalog.release_catalog:_pretend": "the text of views over released files",
}

DECIDERS = {
    "catalog.sight:Sight.decision": "Sight",
    "catalog.sight:Sight.judged": "Sight",
    "catalog.sight:Sight.judged_together": "Sight",
    "catalog.sight:Sight.tells_of": "Sight",
    "catalog.release:_write_derived": "the obligations of rows that Sight has permitted",
    "catalog.verify:_refused_rows": "a release's rights as of today",
    "validations.terms:terms_check": "what the gate tells of the dataset",
    "dagster_project.publish:commit": "what the ledger notes of a version",
    "dagster_project.privacy:is_private": "what Dagster may be told",
    "dagster_project.reference:_licences": "the page on licences",
    "dagster_project.terms_commands:_profiles": "what each profile may have",
    "dagster_project.terms_commands:_rows": "of permitted rows, whether anyone may have them",
}
COMPARES = {
    "dagster_project.terms_commands:_embargo": "words beside what the policy says",
    "validations.terms:overdue_review": "reminds the operator; lifts nothing",
}
ITERATES = {
    "dagster_project.publish:commit", "dagster_project.reference:_licences",
    "dagster_project.release_assets:release_assets", "dagster_project.terms_commands:_profiles",
}  # fmt: skip

COMMANDS = {  # what shows or ships data, and the door by which it does
    "list": "_door", "query": "_door", "versions": "_door", "diff": "_door", "quarantine": "_door", "terms": "_door",
    "release": "cut", "verify": "verify",
}  # fmt: skip
OTHER_COMMANDS = {
    "run": "counts, and the words that contradict a licence, to who runs it",
    "check": "a contributor's own sample",
    "vacuum": "how many files it removed",
    "withdraw": "how many files it removed",
    "ui": "starts Dagster, whose pages are below",
}
PAGES = {  # who gives Dagster something to show
    "dagster_project.component:derived_asset": "Door", "dagster_project.component:_raw": "is_private",
    "dagster_project.component:_staged": "is_private", "dagster_project.component:_published": "is_private",
    "dagster_project.component:_about": "the contract", "dagster_project.component:_yaml_reference": "the contract",
    "dagster_project.jobs:_table_asset": "Sight",
    "dagster_project.metadata:raw_metadata": "is_private", "dagster_project.metadata:staged_metadata": "is_private",
    "dagster_project.metadata:published_metadata": "is_private", "dagster_project.metadata:table_metadata": "Sight",
    "dagster_project.metadata:_reasons": "is_private", "dagster_project.metadata:_previews": "Door",
    "dagster_project.metadata:complete_result": "which of the contract's parts there are",
    "dagster_project.metadata:check_result": "is_private", "dagster_project.privacy:marked": "a mark",
    "dagster_project.privacy:Confidant.keep": "is_private", "dagster_project.privacy:told": "is_private",
    "dagster_project.release_assets:_release": "a release",
    "dagster_project.release_assets:_release_metadata": "a release",
    "dagster_project.release_assets:_place": "a release", "dagster_project.release_assets:_review": "the contract",
    "dagster_project.withdraw:_forget_runs": "compares what is there, to remove it",
}  # fmt: skip


@dataclass
class Function:
    """What a function names: what it calls, which texts it holds, what it compares; inner functions are part of it."""

    name: str
    calls: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    compared: set[str] = field(default_factory=set)
    subscripted: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    keywords: set[str] = field(default_factory=set)

    @property
    def reads(self) -> bool:
        found = self.calls & READS or self.attributes & ROW_FACTS or self.names & OPENERS
        return bool(found) or any("read_parquet" in text for text in self.texts)


def functions(module: str, source: str) -> Iterator[Function]:
    tree = ast.parse(source)
    loose = [node for node in tree.body if not isinstance(node, ast.ClassDef | ast.FunctionDef)]
    yield _function(f"{module}:", loose)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield _function(f"{module}:{node.name}", [node])
        elif isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
            for method in methods:
                yield _function(f"{module}:{node.name}.{method.name}", [method])
            yield _function(f"{module}:{node.name}", [each for each in node.body if each not in methods])


def _function(name: str, nodes: list[ast.stmt]) -> Function:
    found = Function(name)
    for top in nodes:
        documentation = {id(node.body[0].value) for node in ast.walk(top) if _is_documented(node)}
        called = {id(node.func) for node in ast.walk(top) if isinstance(node, ast.Call)}
        for node in ast.walk(top):
            if id(node) not in documentation:
                _note(found, node, id(node) in called)
    return found


def _is_documented(node: ast.AST) -> bool:
    body = getattr(node, "body", None)
    return isinstance(node, ast.FunctionDef | ast.ClassDef) and bool(body) and isinstance(body[0], ast.Expr)


def _note(found: Function, node: ast.AST, is_called: bool) -> None:
    if isinstance(node, ast.Call):
        found.calls.add(_last(node.func))
        found.keywords.update(each.arg for each in node.keywords if each.arg)
    elif isinstance(node, ast.Attribute):
        found.names.add(f"{_last(node.value).lstrip('_')}.{node.attr}")
        if not is_called:
            found.attributes.add(node.attr)
    elif isinstance(node, ast.Name):
        found.names.add(node.id)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.texts.append(node.value)
    elif isinstance(node, ast.Subscript):
        found.subscripted.add(_last(node.value))
    elif isinstance(node, ast.Compare) and any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in node.ops):
        found.compared.update(_last(each) for each in (node.left, *node.comparators))


def _last(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def code() -> list[Function]:
    found: list[Function] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
            found += functions(module, path.read_text(encoding="utf-8"))
    return found


def unguarded(found: list[Function], safe: Mapping[str, str] = SAFE) -> set[str]:
    """The functions that read and neither ask, nor are safe, nor are called only by such as do."""
    readers = {each.name for each in found if each.reads and not each.name.startswith(READERS_OF_ANYTHING_ELSE)}
    by_name = {each.name: each for each in found}

    def is_guarded(name: str, above: frozenset[str]) -> bool:
        if name in safe or by_name[name].calls & ASKS:
            return True
        short = name.rpartition(":")[2].rpartition(".")[2]
        there = [each for each in found if not short.startswith("_") or each.name.startswith(name.partition(":")[0])]
        callers = [each.name for each in there if short in each.calls | each.names and each.name not in above | {name}]
        return bool(callers) and all(is_guarded(each, above | {name}) for each in callers)

    return {name for name in readers if not is_guarded(name, frozenset())}


def judges(found: list[Function]) -> set[str]:
    """The functions outside of the policy that judge for themselves."""
    outside = [each for each in found if not each.name.startswith("catalog.rights.")]
    comparing = {
        each.name for each in outside if each.compared & {"embargo_until", "until", "review_by", "obligations"}
    }
    asking = {each.name for each in outside if "decide" in each.calls}
    looking = {each.name for each in outside if "PERMITTED" in each.subscripted}
    naming = {each.name for each in outside if "PERMITTED" in each.names and not each.name.endswith(":")}
    return (comparing - COMPARES.keys()) | (asking - DECIDERS.keys()) | looking | (naming - ITERATES)


@pytest.fixture(scope="module")
def everything() -> list[Function]:
    return code()


def test_who_reads_rows_asks_the_policy(everything: list[Function]) -> None:
    assert unguarded(everything) == set()


def test_nobody_judges_but_the_policy(everything: list[Function]) -> None:
    assert judges(everything) == set()


def test_no_list_names_what_is_not_there(everything: list[Function]) -> None:
    names = {each.name for each in everything}
    assert {*SAFE, *DECIDERS, *COMPARES, *ITERATES, *PAGES} - names == set()
    called = {
        each.name for each in everything if "decide" in each.calls and not each.name.startswith("catalog.rights.")
    }
    assert called == DECIDERS.keys()


def test_every_command_is_on_a_list_and_goes_through_its_door(everything: list[Function]) -> None:
    assert set(main.commands) == COMMANDS.keys() | OTHER_COMMANDS.keys()
    by_name = {each.name: each for each in everything}
    for command, door in COMMANDS.items():
        callback = main.commands[command].callback
        module = callback.__module__
        assert door in by_name[f"{module}:{callback.__name__}"].calls, command
    assert "Door" in by_name["dagster_project.cli:_door"].calls
    assert "Door" in by_name["dagster_project.releases:cut"].calls
    assert "_refused_rows" in by_name["catalog.verify:_refused"].calls


def test_whoever_gives_dagster_something_to_show_is_on_a_list(everything: list[Function]) -> None:
    shows = {"MaterializeResult", "AssetCheckResult", "Output", "Failure", "text", "md", "json", "add_output_metadata"}
    ours = [each for each in everything if each.name.startswith("dagster_project.")]
    giving = {
        each.name
        for each in ours
        if "dg.MetadataValue" in each.names
        or "metadata" in each.keywords
        or ({"dg"} <= each.names and each.calls & shows)
    }
    giving -= {"dagster_project.resources:LedgerIOManager.load_input", "dagster_project.metadata:_row_count"}
    assert giving - PAGES.keys() == set()


BAD = {
    "reads files": "def leak(warehouse, of):\n    return duckdb.sql(f'FROM read_parquet({warehouse.files(of)})')",
    "opens a table": "def leak(catalog):\n    return catalog.load_table('a.b').scan().to_arrow()",
    "connects": "class Door:\n    def leak(self, files):\n        return self._warehouse.connect(files)",
    "reads a file": "def leak(path):\n    return pq.read_table(path)",
    "tells reports": "def leak(ledger):\n    return [each.checks for each in ledger.reports()]",
    "counts rows": "def leak(version):\n    return sum(x.rows for part in version.tables for x in part.row_terms)",
    "shows refusals": "def leak(stage):\n    return stage.quarantine",
    "is called by one that does not ask": "def _read(ledger):\n    return ledger.stages('x')\n"
    "def asks(s):\n    return s.tells_of('x') and _read(s)\ndef does_not(s):\n    return _read(s)",
}
BAD_JUDGES = {
    "compares days": "def judge(terms, today):\n    return terms.embargo_until <= today",
    "compares obligations": "def judge(licence, mine):\n    return licence.obligations <= mine",
    "looks up": "def judge(profile):\n    return PERMITTED[profile]",
    "decides": "def judge(terms):\n    return decide(terms, 'open', today).allowed",
}


@pytest.mark.parametrize("what", BAD)
def test_the_walk_finds_a_door_that_does_not_ask(what: str) -> None:
    assert unguarded(list(functions("catalog.bad", BAD[what])), {})


@pytest.mark.parametrize("what", BAD_JUDGES)
def test_the_walk_finds_who_judges_for_himself(what: str) -> None:
    assert judges(list(functions("catalog.bad", BAD_JUDGES[what]))) == {"catalog.bad:judge"}


def test_the_walk_lets_pass_who_asks() -> None:
    good = "def _read(ledger):\n    return ledger.reports()\ndef door(s):\n    return s.tells_of('x') and _read(s)"
    assert unguarded(list(functions("catalog.good", good)), {}) == set()
