"""Turns one TOML file into frozen settings, one model per stage; an unknown key names the nearest known one."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import SettingsError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class SourceSettings(_Frozen):
    """Intake of the data folder."""

    max_rejected_share: float = Field(
        default=0.1, ge=0, le=1, description="stop when a larger share of a table is set aside"
    )
    max_user_rows_per_minute: int = Field(
        default=300, ge=1, description="a user with more rows in one minute is taken for a bot"
    )
    late_days: int = Field(default=3, ge=0, description="rows may be this much older than the day of their file")
    ahead_hours: float = Field(
        default=14.0, ge=0, description="rows may lie this far beyond the day of their file, and beyond now"
    )
    empty_files: Literal["skip", "stop"] = Field(
        default="skip",
        description="a file of 0 bytes, one of several of its table: is left out and named, or stops the run",
    )
    tolerate: tuple[str, ...] = Field(default=(), description="checks that are counted and set nothing aside")
    sensitive_topics: tuple[str, ...] = Field(
        default=(), description="topics that never enter interests, embeddings or personal slates"
    )
    key_file: Path | None = Field(
        default=None, description="key of the pseudonyms; else ADLOOM_KEY, else adloom.key beside the runs folder"
    )


FeatureGroup = Literal[
    "affinity", "affinity_share", "action_affinity", "counts", "topic_counts", "recency", "dwell", "diversity", "session",
    "space", "covisit", "fatigue", "click_rates", "clock", "device",
]  # fmt: skip
"""Features that are left out, or not, together; `docs/features.md` says which is in which."""


class FeatureSettings(_Frozen):
    """Interests, embeddings and the ranking features."""

    half_life_days: float = Field(default=7.0, gt=0, description="half-life of interests and of the user embedding")
    affinity_half_lives_days: tuple[float, ...] = Field(
        default=(1.0, 7.0, 30.0), min_length=1, description="half-lives of the topic affinities that the ranker sees"
    )
    delay_seconds: float = Field(
        default=0.0, ge=0, description="events younger than this are not yet known to the pipeline"
    )
    space: Literal["covisits", "text"] = Field(
        default="covisits", description="what a new item space is fitted on; text needs the extra adloom[text]"
    )
    dimensions: int = Field(default=32, ge=2, le=512, description="dimensions of the item space")
    covisit_window: int = Field(
        default=10, ge=1, description="items at most this many places apart in a user's history co-visit"
    )
    action_weights: dict[str, float] = Field(
        default={"view": 1.0, "click": 1.5, "like": 2.0, "search": 1.5, "cart": 3.0, "purchase": 4.0},
        description="how much an action counts",
    )
    session_gap_minutes: float = Field(default=30.0, gt=0, description="a longer pause ends a session")
    groups: tuple[FeatureGroup, ...] = Field(
        default=get_args(FeatureGroup), min_length=1, description="groups of features that the ranker sees"
    )


class SlateSettings(_Frozen):
    """Candidates and slates: all of these, and nothing else but the ranker, decide the chance of a slate."""

    slate_size: int = Field(default=4, ge=1, le=50, description="positions in a slate")
    candidates: int = Field(default=200, ge=1, description="concepts scored per user at most")
    covisit_share: float = Field(
        default=0.3, ge=0, le=1, description="share of the candidates by co-visits with the user's last items"
    )
    popularity_share: float = Field(
        default=0.2, ge=0, le=1, description="share of the candidates by popularity; the rest is by embedding"
    )
    frequency_cap: int = Field(
        default=10, ge=0, description="a concept shown so often to the user of late is no candidate; 0: no cap"
    )
    frequency_days: float = Field(default=7.0, gt=0, description="days that frequency_cap looks back")
    advertiser_budgets: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default={},
        description="impressions an advertiser has bought; once shown, its concepts are no candidates, and a batch shows no "
        "more, in expectation, than is left",
    )
    budget_days: float = Field(default=30.0, gt=0, description="days that advertiser_budgets are for")
    cascade_loss: float = Field(
        default=0.001, ge=0, lt=1, description="NDCG@10 a first model may cost that thins out a large day; 0: none"
    )
    temperature: float = Field(default=0.6, ge=0, description="of the Plackett-Luce draw; 0 is deterministic")
    exploration: float = Field(
        default=0.01, ge=0, le=1, description="chance that a position is filled by any candidate, all alike"
    )
    topic_penalty: float = Field(
        default=0.1, ge=0, description="log-odds a concept loses for each earlier one in the slate with a topic of its"
    )
    advertiser_penalty: float = Field(
        default=0.1, ge=0, description="log-odds a concept loses for each earlier one in the slate of its advertiser"
    )
    advertiser_slots: int = Field(
        default=0, ge=0, description="positions in a slate that an advertiser may have; 0: any number"
    )
    advertiser_floors: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={},
        description="least share of all positions that an advertiser is to have, in expectation, while its budget lasts",
    )
    advertiser_caps: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, description="greatest share of all positions that an advertiser is to have, in expectation"
    )


class RankingSettings(SlateSettings):
    """The ranker, its calibration, and the slates."""

    objective: Literal["lambdarank", "binary"] = Field(
        default="lambdarank", description="learn the order inside slates, or the chance of single clicks"
    )
    rounds: int = Field(default=200, ge=1, description="boosting rounds at most")
    leaves: int = Field(default=15, ge=2, description="leaves per tree")
    learning_rate: float = Field(default=0.03, gt=0, le=1, description="shrinkage")
    min_rows_per_leaf: int = Field(default=50, ge=1, description="rows a leaf must hold")
    l2: float = Field(default=50.0, ge=0, description="L2 penalty on leaf values")
    feature_share: float = Field(default=0.5, gt=0, le=1, description="share of the features that each tree may use")
    monotone: bool = Field(
        default=True, description="the score may only rise with features that say so, see docs/features.md"
    )
    early_stopping_rounds: int = Field(
        default=25, ge=1, description="rounds without a better NDCG before stopping; at least as many rounds are kept"
    )
    validation_share: float = Field(default=0.1, gt=0, lt=0.5, description="share of time for early stopping")
    calibration_share: float = Field(default=0.1, gt=0, lt=0.5, description="share of time for the calibration")
    test_share: float = Field(default=0.2, gt=0, lt=0.5, description="last share of time, held out for the report")
    threads: int = Field(default=2, ge=1, description="LightGBM threads; fixed, so that models are equal to the byte")
    portion_rows: int = Field(
        default=1_000_000,
        ge=1,
        description="training rows for each worker of a cluster that learns the ranker; below two portions one machine learns it",
    )


AdFormat = Literal[
    "300x250", "336x280", "728x90", "160x600", "300x600", "970x250", "320x50", "1:1", "4:5", "9:16", "1.91:1"
]
"""Sizes that an ad can be set in; `docs/typesetting.md` shows them."""


class GeneratorSettings(_Frozen):
    """What is drawn, by which weights, how, and how much of it."""

    renders: int = Field(default=48, ge=0, description="personal pictures to draw at most; general ones come on top")
    min_cohort_users: int = Field(default=25, ge=1, description="a cohort has at least this many users")
    max_cohorts: int = Field(default=20, ge=1, description="cohorts at most")
    way: Literal["diffusion", "student", "gan", "stable-diffusion"] = Field(
        default="diffusion",
        description="the way to draw: our own flow, its student in few steps, a GAN in one, or a checkpoint, see [stable_diffusion]",
    )
    steps: int = Field(default=2, ge=1, le=1000, description="denoising steps of the flow")
    student_steps: Literal[1, 2, 4] = Field(default=1, description="steps of the student")
    guidance: float = Field(
        default=128.0,
        ge=0,
        description="how hard looks are drawn to what the user clicks; 1 is Bayes' rule, 0 ignores it",
    )
    candidates: int = Field(default=6, ge=1, description="scenes painted per picture, of which the scorer keeps one")
    side: int = Field(default=720, ge=256, le=4096, description="side of a finished square creative, pixels")
    sizes: tuple[AdFormat, ...] = Field(
        default=("300x250", "728x90", "160x600", "320x50"),
        description="sizes that every creative is set in beside the square: " + ", ".join(get_args(AdFormat)),
    )
    batch: int = Field(default=16, ge=1, description="pictures finished, and kept when a run is stopped, together")
    redraws: int = Field(default=2, ge=0, description="new seeds tried for a picture that fails a check")
    first_training_steps: int = Field(
        default=100, ge=1, description="training steps from the shipped weights when there are none for this space"
    )
    ai_label: str = Field(
        default="",
        max_length=60,
        description='words of a small label on every picture, such as "AI-generated"; empty: none',
    )
    font_path: Path | None = Field(
        default=None, description="a font for all type of brands that name none, where Inter lacks a script"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where to train and draw")


class StableDiffusionSettings(_Frozen):
    """A pretrained checkpoint as the way to draw, see docs/stable-diffusion.md."""

    checkpoint: str | None = Field(default=None, description="a folder in diffusers' layout, or a hub id; needed")
    side: int | None = Field(
        default=None, ge=16, le=4096, description="side of the scenes, pixels; else what the checkpoint was trained on"
    )
    scheduler: Literal["own", "ddim", "dpm++", "euler", "lcm", "turbo"] = Field(
        default="dpm++", description="own: the checkpoint's; lcm, turbo: for checkpoints distilled that way"
    )
    steps: int = Field(default=25, ge=1, le=1000, description="denoising steps; 4 with lcm, 1 to 4 with turbo")
    guidance: float = Field(
        default=5.0, ge=0, description="weight of prompt and user; up to 1, as lcm and turbo want it, unguided"
    )
    user_scale: float = Field(
        default=1.0, ge=0, description="how loudly the user speaks beside the prompt; 0: not at all"
    )
    prompt: str = Field(
        default="{topics}, {words}, advertising photograph of an empty scene, soft light, sharp, plain background",
        description="{topics} and {words} are the concept's",
    )
    negative_prompt: str = Field(
        default="text, letters, logo, watermark, frame, people, hands, blurry, distorted", description="what to avoid"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="of the weights; auto: bf16 on CUDA, else fp32"
    )
    rows: int = Field(default=4, ge=1, description="scenes painted at once; halved when GPU memory runs out")


class CheckSettings(_Frozen):
    """What a picture must pass before anybody sees it; see docs/picture-checks.md."""

    cohort_repeat: float = Field(
        default=3.5, ge=0, description="distance of a picture at least from every other one for the same people"
    )
    run_repeat: float = Field(default=3.5, ge=0, description="the same, from every picture of the run")
    read_headline: bool = Field(default=False, description="read every headline back; needs adloom[ocr]")
    misread: float = Field(
        default=0.2, ge=0, le=1, description="share of a headline's letters that may be read otherwise"
    )
    unsafe: bool = Field(default=False, description="look for indecent pictures; needs adloom[safety]")
    unsafe_chance: float = Field(default=0.5, ge=0, le=1, description="chance of being indecent at most")
    forbidden_words: tuple[str, ...] = Field(default=(), description="words to refuse beside the list of rude ones")
    allowed_words: tuple[str, ...] = Field(
        default=(), description="listed words that may stand, such as a brand's name"
    )
    button_difference: float = Field(
        default=3.0, ge=0, description="CIE76 difference of the button to the nearest of the concept's colours at most"
    )
    forbidden_colours: dict[str, tuple[Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")], ...]] = Field(
        default={}, description='colours #rrggbb an advertiser must not be seen in, by its name; "*" is everybody'
    )
    forbidden_share: float = Field(
        default=0.02, ge=0, le=1, description="share of the picture that a forbidden colour may cover"
    )
    user_distance: float = Field(
        default=20.0, ge=0, description="mean distance of the scenes in a user's slate, under which the run warns"
    )
    audience_distance: float = Field(
        default=20.0, ge=0, description="mean distance of the scenes for a cohort, under which the run warns"
    )


class EvaluationSettings(_Frozen):
    """The offline report."""

    k: int = Field(default=10, ge=1, description="depth of NDCG")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals")
    bootstraps: int = Field(default=500, ge=50, description="resamples of users")
    min_effective_share: float = Field(
        default=0.01, ge=0, le=1, description="effective sample size under this share of the log: the data cannot say"
    )
    min_effective_size: int = Field(
        default=200, ge=1, description="effective sample size under this: the data cannot say"
    )


class ExperimentSettings(_Frozen):
    """A real experiment: the columns of its table, what was planned, and how it is judged."""

    user: str = Field(default="user_id", description="column of the user; rows of one user are summed")
    arm: str = Field(default="arm", description="column of the arm")
    control: str | None = Field(default=None, description="the arm that others are compared with; needed")
    outcomes: tuple[str, ...] = Field(
        default=(), description='numbers or true/false, the one to decide on first; a ratio is "clicks/impressions"'
    )
    less_is_better: tuple[str, ...] = Field(default=(), description="outcomes that should fall, such as complaints")
    covariates: tuple[str, ...] = Field(default=(), description="columns known before assignment; they cut variance")
    segments: tuple[str, ...] = Field(default=(), description="columns to look for different effects in")
    assigned_at: str | None = Field(default=None, description="column of the time of assignment")
    at: str | None = Field(default=None, description="column of the time of the row's outcomes")
    shares: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="planned share of users by arm; empty: equal"
    )
    guardrails: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="outcome = largest relative loss that is tolerated, such as 0.02"
    )
    planned_users: int | None = Field(
        default=None, ge=2, description="users at which the decision was planned; before, and without, always-valid"
    )
    relevant_lift: float | None = Field(
        default=None, gt=0, description="smallest relative lift worth having; too few users to see it: cannot say"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals")
    power: float = Field(default=0.8, gt=0.5, lt=1, description="of the detectable effect")
    false_discovery: Literal["bh", "by"] = Field(
        default="bh", description="bh: Benjamini-Hochberg; by: Benjamini-Yekutieli, under any dependence"
    )
    aa_splits: int = Field(default=1000, ge=100, description="random splits of control in the A/A check")
    exposure_days: int = Field(default=14, ge=2, le=90, description="days since assignment in the exposure curve")


class LearningSettings(_Frozen):
    """What `adloom learn` makes of reviewers' decisions."""

    least_decisions: int = Field(default=30, ge=2, description="approvals and rejections before anything is learned")
    most_kl: float = Field(
        default=1.0, gt=0, description="nats that the looks drawn may move away from those before any feedback"
    )
    step_kl: float = Field(default=0.25, gt=0, description="nats further that one round of learning may move them")
    least_diversity: float = Field(
        default=0.99, gt=0, le=1, description="share of the diversity of pictures that must stay, see docs/feedback.md"
    )
    pool: int = Field(default=256, ge=32, description="scenes painted to see what looks there are")


class ApprovalSettings(_Frozen):
    """Approval without a person; off unless `most_error` is set."""

    most_error: float | None = Field(
        default=None, gt=0, lt=1, description="share of wrong approvals that is tolerated where people are not asked"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="with which the bound of every stratum holds")
    people_share: float = Field(
        default=0.1, ge=0, le=1, description="share of the pictures that pass which is left to people all the same"
    )


class NightSettings(_Frozen):
    """What a batch does when nobody is watching; see docs/nights.md. It decides nothing of what comes out."""

    retries: int = Field(
        default=3,
        ge=0,
        le=20,
        description="times a stage is tried again after a fault that may pass, such as a lost network",
    )
    first_pause_seconds: float = Field(
        default=5.0, ge=0, description="before the first retry; each next one is doubled"
    )
    longest_pause_seconds: float = Field(default=300.0, ge=0, description="before a retry at most")
    late_days: int | None = Field(
        default=None, ge=0, description="days that the last row may be old before the run is to be looked at; else any"
    )
    least_day_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="rows of the last day, over the median of the 7 before, below which to look at it",
    )


class DriftSettings(_Frozen):
    """What marks a run to be looked at, beside the run before it; see docs/nights.md."""

    psi: float = Field(
        default=0.2, ge=0, description="population stability index of a feature or score, above which it has moved"
    )
    calibration: float = Field(
        default=0.15, ge=0, description="relative change of clicks over predicted clicks that counts"
    )
    approval: float = Field(default=0.1, ge=0, le=1, description="change of the share of approvals that counts")
    confidence: float = Field(
        default=0.99, gt=0.5, lt=1, description="that no feature of a run moves by chance alone; likewise the others"
    )
    ignore: tuple[str, ...] = Field(
        default=("hour", "weekday", "concept_age", "concept_shown", "user_shown"),
        description="features that move with the calendar",
    )


class ExportSettings(_Frozen):
    """What goes to ad platforms."""

    utm: dict[str, str] = Field(
        default={
            "utm_source": "{platform}", "utm_medium": "display", "utm_campaign": "{run}", "utm_content": "{creative_id}",
        },
        description="parameters added to landing URLs; {platform}, {run}, {advertiser}, {concept_id}, {creative_id}, "
        "{cohort} and {size} are filled in",
    )  # fmt: skip
    campaign: str = Field(default="Adloom {run}", min_length=1, description="campaign that the sheets put ads in")
    certificate: Path | None = Field(
        default=None, description="certificates (PEM) to sign pictures with, C2PA; needs adloom[provenance]"
    )
    private_key: Path | None = Field(default=None, description="key (PEM) of the first of these certificates")
    algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = Field(
        default="es256", description="that the key is for"
    )
    time_authority: str | None = Field(
        default=None,
        description="address (RFC 3161) that certifies the time, so that signatures outlive the certificate",
    )


class Settings(_Frozen):
    """All settings of a run."""

    seed: int = Field(default=7, ge=0, description="of the whole run")
    sources: SourceSettings = SourceSettings()
    features: FeatureSettings = FeatureSettings()
    ranking: RankingSettings = RankingSettings()
    generators: GeneratorSettings = GeneratorSettings()
    stable_diffusion: StableDiffusionSettings = StableDiffusionSettings()
    checks: CheckSettings = CheckSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    learning: LearningSettings = LearningSettings()
    approval: ApprovalSettings = ApprovalSettings()
    export: ExportSettings = ExportSettings()
    nights: NightSettings = NightSettings()
    drift: DriftSettings = DriftSettings()


def load_settings(path: Path | None) -> Settings:
    """Settings from a TOML file; the defaults when `path` is None.

    Raises:
        SettingsError: the file is missing or not TOML, or lists every unknown key and wrong value at once.
    """
    if path is None:
        return Settings.model_validate({})
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"cannot be read ({error.strerror})", where=str(path), fix="Give the path of a TOML file, see configs/."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"is not TOML ({error})", where=str(path), fix="Mend the line it names.") from error
    return parse_settings(values, where=str(path))


def with_renders(settings: Settings, renders: int | None) -> Settings:
    """The settings with another number of personal pictures; None: as they are. Raises SettingsError below 0."""
    if renders is None:
        return settings
    if renders < 0:
        raise SettingsError("must be 0 or more", where="--renders", fix="Give the number of pictures to draw.")
    return settings.model_copy(update={"generators": settings.generators.model_copy(update={"renders": renders})})


def parse_settings(values: dict[str, Any], *, where: str) -> Settings:
    """Settings from nested values; `where` names their origin in errors. Raises SettingsError with every fault."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = [_fault(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors()]
        raise SettingsError(
            "; ".join(faults), where=where, fix="configs/default.toml lists every setting with its meaning."
        ) from error


def _fault(location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in location)
    if kind != "extra_forbidden":
        return f"{name}: {message[:1].lower()}{message[1:]}"
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        inner = model.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return f"{name}: unknown key"
        model = inner
    near = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1, cutoff=0.0)
    return f"{name}: unknown key, the nearest known one is {'.'.join([*map(str, location[:-1]), near[0]])}"
