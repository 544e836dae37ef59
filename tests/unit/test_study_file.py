import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regulens.errors import UserError
from regulens.files import is_reserved
from regulens.spec import (
    BETTER,
    AnalysisSpec,
    ClaimSpec,
    DataSpec,
    Level,
    ModelSpec,
    StudySpec,
    TrainSpec,
    VariationSpec,
    level_of,
)
from regulens.study.grid import cells, matching_cells, varied
from regulens.study.study_file import (
    STUDY_FILE,
    parse_study,
    preset_names,
    preset_text,
    read_study,
    write_study,
)

LAB_REGULARIZERS = ["none", "l2(0.01)", "dropout(0.1)", "batchnorm"]
DEPTHS = '[factors]\nmodel.depth = [1, 2]\nregularizer = ["none", "batchnorm"]\n'


def message_of(body: str, name: str = 'name = "mine"') -> str:
    with pytest.raises(UserError) as caught:
        parse_study(f"{name}\n{body}", "mine.toml")
    message = str(caught.value)
    assert message.startswith("mine.toml: ")
    assert "\n" not in message
    return message


def test_the_presets_ship_with_the_package() -> None:
    assert preset_names() == ["lab", "lab-64", "lab-audit", "lab-strength", "quickstart"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_valid_study_of_its_name(name: str) -> None:
    study = read_study(name)
    assert study.name == name
    assert study.title
    assert len(cells(study)) >= 2


def test_the_lab_is_its_eight_networks() -> None:
    found = [(spec.model.depth, spec.regularizer) for spec in cells(read_study("lab"))]
    assert found == [(depth, regularizer) for depth in (1, 2) for regularizer in LAB_REGULARIZERS]


def test_the_lab_trains_as_the_lab_did() -> None:
    data = DataSpec(name="fashion-mnist", scale=1, validation=0.15, test=0.15, split_seed=123, limit=None)
    train = TrainSpec(epochs=5, batch_size=100, learning_rate=0.01, momentum=0)
    for spec in cells(read_study("lab")):
        assert spec.data == data
        assert spec.train == train
        assert spec.model == ModelSpec(
            depth=spec.model.depth, filters=16, kernel_size=3, padding="valid", pool=2, dense=80
        )


def test_the_lab_has_the_published_figures_of_all_its_cells() -> None:
    study = read_study("lab")
    assert study.published is not None
    published = {}
    for entry in study.published.cells:
        (spec,) = matching_cells(study, entry.where, "published")
        published[spec.model.depth, spec.regularizer] = (entry.val_accuracy, entry.test_accuracy)
    assert published == {
        (1, "none"): (0.8541, None),
        (1, "l2(0.01)"): (0.8011, None),
        (1, "dropout(0.1)"): (0.8772, None),
        (1, "batchnorm"): (0.8969, 0.8923),
        (2, "none"): (0.8124, None),
        (2, "l2(0.01)"): (0.8282, None),
        (2, "dropout(0.1)"): (0.7112, None),
        (2, "batchnorm"): (0.8598, 0.8664),
    }


def test_the_lab_also_refits_the_network_it_tested() -> None:
    study = read_study("lab")
    (where,) = study.also_refit
    (spec,) = matching_cells(study, where, "also_refit")
    assert (spec.model.depth, spec.regularizer) == (2, "batchnorm")


def test_lab_64_is_the_lab_and_the_lab_with_four_times_the_filters() -> None:
    lab = cells(read_study("lab"))
    wide = [spec.model_copy(update={"model": spec.model.model_copy(update={"filters": 64})}) for spec in lab]
    assert cells(read_study("lab-64")) == [*lab, *wide]


def test_lab_strength_gives_both_regularizers_the_same_budget_around_the_labs_strengths() -> None:
    study = read_study("lab-strength")
    kinds = [str(level).partition("(")[0] for level in study.factors["regularizer"]]
    assert [kinds.count(kind) for kind in ("none", "l2", "dropout")] == [1, 5, 5]
    lab = [spec for spec in cells(read_study("lab")) if spec.regularizer != "batchnorm"]
    assert set(lab) < set(cells(study))


def test_lab_audit_is_the_lab_with_its_claims_under_every_variation() -> None:
    lab, audit = read_study("lab"), read_study("lab-audit")
    assert cells(audit) == cells(lab)
    assert [claim.id for claim in audit.claims] == ["depth", "batchnorm", "l2", "dropout", "overfit"]
    assert all(claim in lab.claims for claim in audit.claims)
    changed = {name: (s.data.scale, s.data.standardize, s.train.learning_rate) for name, s in varied(audit)}
    inputs, rates = {(1.0, False), (1 / 255, False), (1.0, True)}, {0.01, 0.00333, 0.03}
    crossed = {(*pixels, rate) for pixels in inputs for rate in rates}
    assert {*changed.values()} == crossed  # the unvaried combination is that of more epochs and of another split
    further = {
        name: (s.train.epochs, s.data.split_seed) for name, s in varied(audit) if changed[name] == (1, False, 0.01)
    }
    assert further == {"epochs-x2": (10, 123), "epochs-x4": (20, 123), "split": (5, 124)}


def test_quickstart_needs_no_download() -> None:
    specs = cells(read_study("quickstart"))
    assert {spec.data.name for spec in specs} == {"digits"}
    assert [(spec.model.depth, spec.regularizer) for spec in specs] == [
        (d, r) for d in (1, 2) for r in LAB_REGULARIZERS
    ]


def test_a_copied_preset_is_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(preset_text("lab"), encoding="utf-8")
    assert read_study(path) == read_study("lab")
    assert read_study(str(path)) == read_study("lab")


@pytest.mark.parametrize("name", preset_names())
def test_a_written_preset_reads_back_equal(name: str, tmp_path: Path) -> None:
    write_study(tmp_path, read_study(name))
    again = read_study(tmp_path / STUDY_FILE)
    assert again == read_study(name)
    assert cells(again) == cells(read_study(name))


def test_a_written_study_spells_out_every_field_that_has_a_value(tmp_path: Path) -> None:
    study = StudySpec(name="mine")
    write_study(tmp_path, study)
    written = tomllib.loads((tmp_path / STUDY_FILE).read_text(encoding="utf-8"))
    assert written == study.model_dump(mode="json", exclude_none=True)
    assert StudySpec.model_fields.keys() - written.keys() == {"published"}
    assert written["train"] == TrainSpec().model_dump()


FACTORS: dict[str, st.SearchStrategy[Level]] = {
    "model.depth": st.integers(1, 16),
    "train.learning_rate": st.floats(1e-9, 1e9),
    "regularizer": st.sampled_from(["none", "batchnorm", "l2(0.5)", "dropout(0.25) + batchnorm"]),
    "model.padding": st.sampled_from(["valid", "same"]),
}
CLAIMS = st.builds(
    ClaimSpec,
    id=st.just("claim"),
    text=st.text(min_size=1),
    kind=st.just("reversal"),
    factor=st.just("model.pool"),
    a=st.just(1),
    b=st.just(2),
    by=st.just("model.dense"),
    between=st.just((80, 160)),
    where=st.dictionaries(st.sampled_from(["train.epochs", "train.batch_size"]), st.integers(1, 9)),
    response=st.none() | st.lists(st.sampled_from(list(BETTER)), min_size=1, max_size=3, unique=True).map(tuple),
    rope=st.none() | st.floats(0, 0.1),
    needs=st.text(min_size=1),
)
VARIATIONS = st.builds(
    VariationSpec,
    name=st.just("varied"),
    text=st.text(),
    change=st.fixed_dictionaries(
        {"data.standardize": st.just(True)}, optional={"train.momentum": st.floats(0, 0.9), "data.test": st.just(0.1)}
    ),
)
STUDIES = st.builds(
    StudySpec,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True).filter(lambda name: not is_reserved(name)),
    title=st.text(),
    seeds=st.integers(1, 10_000),
    data=st.builds(DataSpec, name=st.just("digits"), scale=st.floats(1e-9, 1e9), limit=st.none() | st.integers(10)),
    train=st.builds(TrainSpec, learning_rate=st.floats(1e-9, 1e9), epochs=st.integers(1, 10**6)),
    vary=st.sampled_from([("init",), ("order", "split"), ("init", "order", "dropout", "split")]),
    refit=st.sampled_from(["epochs", "updates"]),
    analysis=st.builds(
        AnalysisSpec,
        response=st.sampled_from(list(BETTER)),
        direction=st.none() | st.sampled_from(["higher", "lower"]),
        rope=st.none() | st.floats(0, 0.1),
        primary=st.sampled_from(["mean", "trained", "median"]),
        comparisons=st.sampled_from(["control", "all"]),
    ),
    claims=st.lists(CLAIMS, max_size=1),
    variations=st.lists(VARIATIONS, max_size=1),
    factors=st.lists(st.sampled_from(sorted(FACTORS)), unique=True).flatmap(
        lambda paths: st.fixed_dictionaries(
            {path: st.lists(FACTORS[path], min_size=1, max_size=3, unique=True) for path in paths}
        )
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@given(study=STUDIES)
@settings(deadline=None, max_examples=40)
def test_a_written_study_reads_back_equal_with_its_factors_in_order(folder: Path, study: StudySpec) -> None:
    write_study(folder, study)
    again = read_study(folder / STUDY_FILE)
    assert again == study
    assert list(again.factors) == list(study.factors)
    assert cells(again) == cells(study)


def test_quoted_and_unquoted_dotted_names_mean_the_same() -> None:
    quoted = """
        name = "mine"
        also_refit = [{ "model.depth" = 2 }]
        [factors]
        "model.depth" = [1, 2]
        "train.learning_rate" = [0.1, 0.01]
        [published]
        source = "a table"
        cells = [{ where = { "model.depth" = 1, "train.learning_rate" = 0.1 }, val_accuracy = 0.5 }]
    """
    unquoted = """
        name = "mine"
        [factors.model]
        depth = [1, 2]
        [factors]
        train.learning_rate = [0.1, 0.01]
        [published]
        source = "a table"
        [[published.cells]]
        where.model.depth = 1
        where.train.learning_rate = 0.1
        val_accuracy = 0.5
        [[also_refit]]
        model.depth = 2
    """
    assert parse_study(quoted, "quoted") == parse_study(unquoted, "unquoted")
    assert list(parse_study(unquoted, "unquoted").factors) == ["model.depth", "train.learning_rate"]


def test_pairs_and_named_levels_are_written_and_read(tmp_path: Path) -> None:
    text = (
        DEPTHS
        + """
        [analysis]
        control = "batchnorm"
        comparisons = [["none", "batchnorm"]]
        [[claims]]
        id = "one"
        text = "One is better."
        kind = "greater"
        factor = "model.depth"
        a = 1
        b = 2
        response = "val_loss"
        where = { regularizer = "none" }
        [[variations]]
        name = "unit"
        change = { data.scale = "1/255", train.epochs = 7 }
    """
    )
    study = parse_study('name = "mine"\n' + text, "mine.toml")
    assert study.analysis.comparisons == (("none", "batchnorm"),)
    assert study.claims[0].response == ("val_loss",)
    assert study.claims[0].where == {"regularizer": "none"}
    assert study.variations[0].change == {"data.scale": "1/255", "train.epochs": 7}
    write_study(tmp_path, study)
    assert read_study(tmp_path / STUDY_FILE) == study


def test_dotted_names_mean_the_same_in_claims_and_variations_however_they_are_written() -> None:
    rest = 'id = "one"\ntext = "It is so."\nkind = "greater"\nfactor = "regularizer"\na = "none"\nb = "batchnorm"\n'
    varies = '[[variations]]\nname = "v"\n'
    spellings = [
        f'[[claims]]\n{rest}where = {{ "model.depth" = 2 }}\n{varies}change = {{ "data.scale" = 0.5 }}',
        f"[[claims]]\n{rest}where.model.depth = 2\n{varies}change.data.scale = 0.5",
        f"[[claims]]\n{rest}[claims.where.model]\ndepth = 2\n{varies}[variations.change]\ndata.scale = 0.5",
    ]
    first, *others = (parse_study(f'name = "mine"\n{DEPTHS}{text}', "mine.toml") for text in spellings)
    assert others == [first, first]


def test_numbers_and_fractions_are_read_in_factors() -> None:
    study = parse_study('name = "mine"\nfactors.data.scale = [1, "1/255"]', "mine.toml")
    assert [level_of(spec, "data.scale") for spec in cells(study)] == [1, 1 / 255]


@pytest.mark.parametrize(
    ("body", "fragments"),
    [
        ("train.epoch = 3", ["train.epoch = 3", "did you mean epochs?"]),
        ("sedes = 3", ["sedes = 3", "did you mean seeds?"]),
        ("seed = 3", ["seed = 3", "did you mean seeds?"]),
        ("[modle]\ndepth = 1", ["modle", "did you mean model?"]),
        ("int = 3", ["unknown key int = 3"]),
        ("train.float = 3", ["unknown key train.float = 3"]),
        ('"line\\nbreak" = 3', ["unknown key", "break", "known: name, title, seeds"]),
        ('regularizer = "batchnrom"', ["regularizer", "batchnrom", "did you mean batchnorm?"]),
        ('factors.regularizer = ["none", "batchnrom"]', ["regularizer", "batchnrom", "did you mean batchnorm?"]),
        (
            'regularizer = "dropout(1.2)"',
            ["regularizer", "dropout(1.2)", "rate of dropout must be in [0, 1)", "got 1.2"],
        ),
        ('regularizer = """\nl2\n"""', ["regularizer", "needs its strength", "l2(0.01)"]),
        ('train.epochs = "5"', ['train.epochs = "5"', "whole number"]),
        ("train.epochs = 2.5", ["train.epochs = 2.5", "whole number"]),
        ("train.epochs = true", ["train.epochs = true", "whole number"]),
        ("train.epochs = 0", ["train.epochs = 0", "greater than or equal to 1"]),
        ("train.learning_rate = nan", ["train.learning_rate = nan", "finite"]),
        ("train.learning_rate = 2020-01-01", ["train.learning_rate", "2020", "number"]),
        ("seeds = 0", ["seeds = 0", "greater than or equal to 1"]),
        ("data = 3", ["data = 3"]),
        ("data.name = 3", ["data.name = 3", "a text in quotes"]),
        ('data.scale = "1/x"', ['data.scale = "1/x"', '"1/255"']),
        ('data.scale = "1e400"', ['data.scale = "1e400"', '"1/255"']),
        ("data.validation = 0.9", ["validation + test must stay below 1", "0.9"]),
        ('model.padding = "ful"', ['model.padding = "ful"', "'valid' or 'same'"]),
        ("factors = 3", ["factors = 3"]),
        ("factors.model.depth = 1", ["factors.model.depth = 1", "list"]),
        ("factors.model.depth = []", ["factors.model.depth", "has no levels", "list at least one"]),
        (
            "factors.model.depth = [[1]]",
            ["factors.model.depth", "[1]", "must be a finite number, a text or true/false"],
        ),
        ("factors.model.depth = [1, 1]", ["depth 1", "remove the repeated level"]),
        ("factors.model.dept = [1]", ["factors.model.dept", "did you mean model.depth?"]),
        ("factors.seed = [1, 2]", ["factors.seed", "write seeds = N"]),
        ("also_refit = 3", ["also_refit = 3", "list"]),
        ("also_refit = [3]", ["also_refit", "3"]),
        ("vary = []", ["vary = []", "name at least one of init, order, dropout, split"]),
        ('vary = ["init", "init"]', ["vary", "names init twice"]),
        ('vary = ["weights"]', ['vary[0] = "weights"', "'init', 'order', 'dropout' or 'split'"]),
        ('vary = "init"', ['vary = "init"', "must be a list, such as vary = ["]),
        ('refit = "steps"', ['refit = "steps"', "'epochs' or 'updates'"]),
        ("data.standardize = 1", ["data.standardize = 1", "true or false"]),
        ("analysis = 3", ["analysis = 3", "[analysis]"]),
        ('analysis.respose = "gap"', ['analysis.respose = "gap"', "did you mean response?"]),
        ('analysis.response = "accuracy"', ['analysis.response = "accuracy"', "'val_accuracy'", "'gap'"]),
        ("analysis.rope = -1", ["analysis.rope = -1", "greater than or equal to 0"]),
        ('analysis.direction = "up"', ['analysis.direction = "up"', "'higher' or 'lower'"]),
        ('analysis.primary = "mode"', ['analysis.primary = "mode"', "'trained', 'mean' or 'median'"]),
        ('analysis.comparisons = "some"', ['analysis.comparisons = "some"', '"control", "all" or a list of pairs']),
        ("analysis.comparisons = [['none']]", ["analysis.comparisons", '[["batchnorm", "none"]]']),
        ("analysis.control = [1]", ["analysis.control = [1]", "a finite number, a text or true/false"]),
        ('analysis.factor = "model.depth"', ["analysis.factor", "is not a factor of this study"]),
        ("claims = 3", ["claims = 3", "list"]),
        ("[[claims]]\nid = 'x'\ntxt = 'y'", ['claims[0].txt = "y"', "did you mean text?"]),
        ("[[claims]]\nid = 'x'\ntext = 'y'", ["claims[0].kind is missing", "add it"]),
        (
            "[[claims]]\nid = 'x'\ntext = 'y'\nkind = 'greater'\na = 1",
            ["claims[0]", 'claim "x"', 'kind = "greater" needs b'],
        ),
        (
            "[[claims]]\nid = 'x'\ntext = 'y'\nkind = 'greater'\na = []\nb = 1",
            ["claims[0].a = []", "a finite number, a text or true/false"],
        ),
        ("[[variations]]\nname = 'x'", ["variations[0].change is missing", "add it"]),
        ("[[variations]]\nname = 'x'\nchange = {}", ["variations[0].change", "must not be empty"]),
        ("[[variations]]\nname = 'x y'\nchange = { train.epochs = 3 }", ['variations[0].name = "x y"', "folder"]),
        ("[[variations]]\nnam = 'x'\nchange = { train.epochs = 3 }", ["variations[0].nam", "did you mean name?"]),
        (
            "[[variations]]\nname = 'x'\nchange = { train.epoch = 3 }",
            ["variations[0] (x)", "unknown field train.epoch", "did you mean train.epochs?"],
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_key_value_and_mend(body: str, fragments: list[str]) -> None:
    message = message_of(body)
    assert [fragment for fragment in fragments if fragment not in message] == []


@pytest.mark.parametrize(
    ("body", "fragments"),
    [
        (
            "[[also_refit]]\nmodel.filters = 16",
            ["also_refit[0]", "model.filters is not a factor", "known: model.depth"],
        ),
        ("[[also_refit]]\nmodel.depth = 3", ["also_refit[0]", "'model.depth': 3", "levels listed under [factors]"]),
        (
            "[[also_refit]]\nmodel.depth = 1\n[[also_refit]]\nregularizer = 'batchnrom'",
            ["also_refit[1]", "batchnrom", "did you mean batchnorm?"],
        ),
        (
            "[published]\nsource = 'a table'\ncells = [{ where = { 'model.depth' = 1 }, val_accuracy = 0.5 }]",
            ["published.cells[0]", "matches several cells", "name a level of every factor"],
        ),
        (
            "[published]\nsource = 'a table'\n[[published.cells]]\nwhere = { 'model.depth' = 4, regularizer = 'none' }",
            ["published.cells[0]", "'model.depth': 4", "levels listed under [factors]"],
        ),
        (
            "[published]\nsource = 'a table'\n[[published.cells]]\nwhere = { seeds = 4 }",
            ["published.cells[0]", "seeds is not a factor"],
        ),
        (
            "[published]\nsource = 'a table'\n[[published.cells]]\nwhere = {}\nval_acuracy = 0.5",
            ["val_acuracy = 0.5", "did you mean val_accuracy?"],
        ),
        ("[[published.cells]]\nwhere = {}", ["published.source is missing", "add it"]),
    ],
)
def test_a_mistake_about_a_cell_names_its_place(body: str, fragments: list[str]) -> None:
    message = message_of(DEPTHS + body)
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_a_missing_name_is_asked_for() -> None:
    assert message_of("seeds = 3", name="") == "mine.toml: name is missing; add it"


@pytest.mark.parametrize(
    ("name", "body", "fragments"),
    [
        ('nmae = "mine"', "", ["nmae", "did you mean name?"]),
        ('name = "mine"', "published = { sorce = 'a table', cells = [] }", ["sorce", "did you mean source?"]),
    ],
)
def test_a_misspelt_required_key_is_suggested_and_not_said_to_be_missing(
    name: str, body: str, fragments: list[str]
) -> None:
    message = message_of(body, name)
    assert [fragment for fragment in fragments if fragment not in message] == []


@pytest.mark.parametrize("name", ["", "two words", "../up", ".hidden", "a" * 65])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    assert f'name = "{name}"' in message_of("", name=f'name = "{name}"')


@pytest.mark.parametrize("body", ["epochs =", "[train", "seeds = 1\nseeds = 2", "x = 'a\nb'", "\x00"])
def test_invalid_toml_is_named_with_its_line(body: str) -> None:
    message = message_of(body)
    assert "is not valid TOML" in message
    assert "line" in message or "end of document" in message


def test_toml_nested_beyond_reason_is_refused() -> None:
    assert "TOML" in message_of("title = " + "[" * 5000)


def test_a_factor_given_twice_in_two_spellings_is_refused() -> None:
    assert "model.depth" in message_of('[factors]\nmodel.depth = [1]\n"model.depth" = [2]')


def test_a_shared_regularizer_is_checked_even_where_a_factor_overrides_it() -> None:
    assert "did you mean batchnorm?" in message_of('regularizer = "batchnrom"\n' + DEPTHS)


def test_several_mistakes_are_counted() -> None:
    assert "(and 1 more)" in message_of("train.epoch = 3\nmodel.dept = 2")


def test_a_file_that_is_not_there_is_told_from_a_preset() -> None:
    with pytest.raises(UserError) as caught:
        read_study("lap.toml")
    message = str(caught.value)
    assert "lap.toml: no such study file or folder" in message
    assert "presets: lab, lab-64, lab-audit, lab-strength, quickstart" in message
    assert "\n" not in message


def test_a_folder_is_no_study_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder without a study"):
        read_study(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.toml"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8 text") as caught:
        read_study(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r'unknown preset "quickstrat"; did you mean quickstart\?'):
        preset_text("quickstrat")
