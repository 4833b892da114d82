"""The options of each command, declared from the dataclasses of the settings."""

from __future__ import annotations

from typing import Literal

from gemoclap.cli.arguments import Parser, SettingsFile, flat
from gemoclap.config import (
    BASELINES,
    METHODS,
    OF_FOLDS,
    ONE_TRAINING,
    TRAINED,
    AudioSettings,
    CacheSettings,
    DataSettings,
    GmpSettings,
    ModelSettings,
    ObjectiveSettings,
    TrainSettings,
)
from gemoclap.config.ems import (
    CompareSettings,
    IntensityModelSettings,
    PretrainModelSettings,
    PretrainSettings,
    PretrainTrainSettings,
    RankingSettings,
)
from gemoclap.config.paper import PAPER_ENCODERS, paper_settings
from gemoclap.config.probe import LOG_MEL, ProbeHeadSettings, ProbeTrainSettings

RUN_FOLDER = "folder to write the run to; repeat the command to resume an interrupted run"
SHARED_FOLDER = f"{RUN_FOLDER}; start the command several times to share the work"
BATCH_SIZE = "number of clips to process at a time; it does not change the result"
SETTINGS_FILE = (
    "YAML file of settings, or the name of one that comes with gemoclap, such as whisper; can be given several times: later "
    "files override earlier ones, and options override files"
)
MANIFEST = "JSONL manifest that 'gemoclap prepare' wrote"
DAILY = {
    *("data.vocabulary", "data.emotions", "data.folds", "data.n_folds", "data.dev_speakers", "ranking.neutral"),
    *("model.audio_encoder", "model.text_encoder", "model.freeze", "model.layers", "model.lora_rank"),
    *("model.encoder", "model.size", "model.masking", "model.intensity_model", "head.layers"),
    *("train.epochs", "train.steps", "train.batch_size", "train.lr", "train.encoder_lr", "train.precision"),
    *("train.select", "train.seed", "train.seeds", "objective.alpha", "gmp.features", "gmp.scales", "gmp.head"),
    *("probe.manifests", "finetune.manifests", "finetune.methods", "cache.folder"),
}
"""Settings that ``--help`` shows. ``--help-all`` shows all of them."""


def add_run_folder(parser: Parser, about: str = RUN_FOLDER) -> None:
    parser.add_argument("-o", "--output", type=str, required=True, help=about)
    add_no_wait(parser)


def add_no_wait(parser: Parser) -> None:
    no_wait = "stop at once if another command is writing to the folder; the default is to wait until it is done"
    parser.add_argument("--no_wait", action="store_true", help=no_wait)


def add_overwrite(parser: Parser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace the output file if it exists")


def add_prepare(parser: Parser) -> None:
    corpora = (
        "what to read: a corpus (iemocap, ravdess, emodb, nemo, cremad, msppodcast, meld, tess, savee, esd, emovo, synthetic), "
        "or another tool's manifest (emobox, s3prl, audformat, csv)"
    )
    parser.add_argument("name", help=corpora)
    parser.add_argument(
        "root", help="folder of the corpus; for emobox, s3prl, audformat and csv, the file or folder to import"
    )
    parser.add_argument("-o", "--output", type=str | None, default=None, help="manifest to write; default NAME.jsonl")
    audio_root = "folder that the audio paths of an imported manifest are relative to"
    parser.add_argument("--audio_root", type=str | None, default=None, help=audio_root)
    corpus = "name of the corpus for imported rows that have none, which keeps their speakers apart from those of other corpora"
    parser.add_argument("--corpus", type=str | None, default=None, help=corpus)
    columns = (
        "columns of a csv table that have names of their own, such as '{path: Datei, emotion: Gefühl, speaker: Person}'; "
        "docs/corpora.md lists the names that are known"
    )
    parser.add_argument("--columns", type=dict[str, str], default={}, help=columns)
    votes = "columns of a csv table with the number of votes for each emotion, such as '{angry: n_anger, happy: n_joy}'"
    parser.add_argument("--votes", type=dict[str, str], default={}, help=votes)
    add_overwrite(parser)


def add_inspect(parser: Parser) -> None:
    parser.add_argument("manifest", help="JSONL manifest, or a folder of audio files")
    vocabulary = "report labels that are not in this named set, such as iemocap4"
    parser.add_argument("--vocabulary", type=str | None, default=None, help=vocabulary)
    parser.add_argument(
        "--all",
        action="store_true",
        help="print every faulty row; the default is ten faults of each kind, with rows of the same fault together",
    )
    parser.add_argument("-o", "--output", type=str | None, default=None, help="JSON file to write counts and faults to")
    add_overwrite(parser)


def add_convert(parser: Parser) -> None:
    parser.usage = "gemoclap convert MANIFEST emobox|audformat|csv -o OUTPUT [options]"
    parser.add_argument("manifest", help="JSONL manifest")
    parser.add_argument("form", help="format to write: emobox (with folds), audformat or csv")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder to write; for csv, file to write")
    add_overwrite(parser)
    parser.add_class_arguments(DataSettings, "data")
    parser.hide("data.perturbed_copies")
    parser.hide_groups()


FOLDS = tuple(f"data.{name}" for name in OF_FOLDS)
"""Settings without effect in commands that train on all speakers."""
SUPERVISED = ("train.chunk_size", "train.encoder_lr", "train.select")
"""Settings that commands refuse which train without a contrastive loss, a pre-trained encoder and classes."""


def add_manifest(parser: Parser) -> None:
    """Add the positional manifest. `arguments.take_manifest` copies it to ``data.manifest``."""
    parser.add_argument("manifest", nargs="?", type=str | None, default=None, help=MANIFEST)


def add_settings(parser: Parser) -> None:
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(ModelSettings, "model")
    parser.add_class_arguments(ObjectiveSettings, "objective")
    parser.add_class_arguments(GmpSettings, "gmp")
    parser.add_class_arguments(TrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide_groups()


def add_train(parser: Parser) -> None:
    parser.usage = "gemoclap train MANIFEST -o RUN [--config YAML ...] [--method METHOD] [options]"
    add_manifest(parser)
    add_run_folder(parser)
    parser.add_argument("--method", "--methods", type=Literal[TRAINED], default="sl_gemo_clap", help="method to train")
    calibrate = (
        "folder of a finished cross-validation with the same settings, to calibrate the probabilities on (fits a temperature); "
        "the default is to use the development speakers, if there are any"
    )
    parser.add_argument("--calibrate_on", type=str | None, default=None, help=calibrate)
    add_settings(parser)
    parser.hide(*FOLDS)


def add_crossval(parser: Parser) -> None:
    parser.usage = "gemoclap crossval MANIFEST -o RUN [--config YAML ...] [--methods A,B,...] [options]"
    add_manifest(parser)
    add_run_folder(parser)
    methods = (
        f"methods to compare, such as emo_clap,egemaps_svm; choose from {', '.join((*TRAINED, *BASELINES))}; or dimensions "
        "alone, to predict valence, arousal and dominance"
    )
    parser.add_argument("--methods", "--method", type=list[str], default=[*METHODS], help=methods)
    parser.add_argument("--keep_models", type=bool, default=True, help="whether to save the model of every fold")
    seeds = "repeat with each of these seeds, such as 0,1,2; each writes to RUN/seed_0 and so on, and RUN has a report of all"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    add_settings(parser)


def add_crosscorpus(parser: Parser) -> None:
    parser.usage = "gemoclap crosscorpus A.jsonl B.jsonl ... -o RUN [--config YAML ...] [--method METHOD] [options]"
    manifests = "manifests to train and test on; a file NAME.jsonl is called NAME in the matrix"
    parser.add_argument("manifests", nargs="+", help=manifests)
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    parser.add_argument("--method", "--methods", type=Literal[TRAINED], default="emo_clap", help="method to train")
    keep = "whether to keep every trained model; false deletes a model after its test"
    parser.add_argument("--keep_models", type=bool, default=True, help=keep)
    seeds = "train with each of these seeds, such as 0,1,2; the matrix shows the means over seeds"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    leave = (
        "train on all corpora but one too, and test on that one; --train.balance_corpora true draws the corpora evenly"
    )
    parser.add_argument("--leave_one_out", action="store_true", help=leave)
    within = (
        "fill the diagonal with cross-validations that share no speaker: train = do them here, with the same settings; or the "
        "folders of finished ones, separated by commas"
    )
    parser.add_argument("--within", type=list[str], default=[], help=within)
    add_settings(parser)
    parser.hide(*FOLDS)


def add_table1(parser: Parser) -> None:
    parser.usage = (
        "gemoclap table1 MANIFEST -o RUN [--encoders A,B,...] [--methods A,B,...] [--config YAML ...] [options]"
    )
    add_manifest(parser)
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    encoders = "rows of the table: Hugging Face ids or folders, or NAME=FOLDER to set the name of a row"
    parser.add_argument("--encoders", type=list[str], default=[*PAPER_ENCODERS], help=encoders)
    methods = f"columns of the table; choose from {', '.join(ONE_TRAINING)}"
    parser.add_argument("--methods", "--method", type=list[str], default=[*METHODS], help=methods)
    seeds = "cross-validate with each of these seeds, such as 0,1,2; the table shows the means over seeds"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    keep = "whether to save the model of every fold; with the paper's encoders each takes about 2 GB"
    parser.add_argument("--keep_models", type=bool, default=False, help=keep)
    parser.add_argument(
        "--estimate", action="store_true", help="only estimate how many hours the table will take; train nothing"
    )
    add_settings(parser)
    parser.set_defaults(dict(flat(paper_settings(), parser.settings())))
    parser.hide("model.audio_encoder")  # --encoders names them


def add_sweep(parser: Parser) -> None:
    parser.usage = (
        "gemoclap sweep MANIFEST -o RUN --over SETTING=A,B,... [--methods A,B,...] [--config YAML ...] [options]"
    )
    add_manifest(parser)
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    over = (
        "a setting and the values to try, such as objective.alpha=0.5,0.7,0.9; repeat the option to try all combinations with "
        "another setting"
    )
    parser.add_argument("--over", action="append", type=str, required=True, help=over)
    methods = f"methods to train with each combination; choose from {', '.join(ONE_TRAINING)}"
    parser.add_argument("--methods", "--method", type=list[str], default=["sl_gemo_clap"], help=methods)
    seeds = "train with each of these seeds, such as 0,1,2; the tables show the means over seeds"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    add_settings(parser)


def add_gmp_step(parser: Parser) -> None:
    parser.usage = f"{parser.prog} MANIFEST -o RUN [--config YAML ...] [options]"
    output = "folder of the run; use the same folder and options in every step (--config RUN/config.yaml repeats them)"
    add_manifest(parser)
    add_run_folder(parser, output)
    add_settings(parser)
    parser.hide(*FOLDS)


def add_frames(parser: Parser) -> None:
    run = (
        "folder of a gmp_tl run, or of one fold of its cross-validation, whose clusters are used (not its final model)"
    )
    parser.add_argument("run", help=run)
    parser.add_argument("audio", help="audio file of any length")
    smooth = "length in seconds of the moving average over the emotions; 0 = no averaging"
    parser.add_argument("--smooth", type=float, default=0.5, help=smooth)
    parser.add_argument(
        "-o", "--output", type=str | None, default=None, help="CSV or PNG file to write; default: print"
    )
    add_overwrite(parser)


def add_report(parser: Parser) -> None:
    parser.add_argument(
        "folder",
        nargs="+",
        help="folder of a cross-validation or of its seeds, finished or not; several are compared in one report",
    )
    parser.add_argument(
        "-o", "--output", type=str | None, default=None, help="folder for the report of several cross-validations"
    )
    formats = "formats of the pictures: png, svg, pdf, separated by commas; PNG is always written, because the report shows it"
    parser.add_argument("--formats", type=list[str], default=["png", "svg"], help=formats)
    page = (
        "write report.html too: one web page with everything in it, also maps of embeddings and mistakes to listen to"
    )
    parser.add_argument("--html", action="store_true", help=page)
    no_audio = "leave the sound of the mistakes out of report.html, if the licence of the corpus forbids passing it on"
    parser.add_argument("--no_audio", action="store_true", help=no_audio)
    add_no_wait(parser)


def add_compare(parser: Parser) -> None:
    parser.usage = "gemoclap compare SYSTEM SYSTEM ... [--manifest MANIFEST] [-o FOLDER] [options]"
    systems = (
        "the folder of a cross-validation (each of its methods is a system), RUN:METHOD, the folder of an evaluation, or "
        "predictions of another toolkit: a CSV with the columns id or file, prediction and, if known, truth and speaker; JSON "
        "or JSONL with EmoBox's key and pred; a folder of S3PRL's *_predict.txt and *_truth.txt. NAME=SYSTEM sets a name"
    )
    parser.add_argument("systems", nargs="+", help=systems)
    manifest = "manifest with the labels and speakers of the clips, for predictions of other toolkits that lack them"
    parser.add_argument("--manifest", type=str | None, default=None, help=manifest)
    labels = (
        "names of the classes in the order of their numbers, for predictions that are numbers, such as angry,happy,sad"
    )
    parser.add_argument("--labels", type=list[str], default=[], help=labels)
    common = (
        "compare on the clips that all systems were tested on; the default is to refuse systems with different clips"
    )
    parser.add_argument("--common", action="store_true", help=common)
    output = "folder for the comparison as a page, CSV, JSON, LaTeX and a picture; the tables are printed in any case"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)
    formats = (
        "formats of the picture: png, svg, pdf, separated by commas; PNG is always written, because the page shows it"
    )
    parser.add_argument("--formats", type=list[str], default=["png", "svg"], help=formats)
    parser.epilog = "'gemoclap compare ems' is another command: it pre-trains encoders with and without EMS.\n"


def add_papers(parser: Parser) -> None:
    parser.usage = "gemoclap papers gemo-clap|gmp-tl|ems RUN ... [-o FOLDER]"
    paper = "whose figures to show: gemo-clap (its Table 1, and the systems of its Table 2), gmp-tl, or ems"
    parser.add_argument("paper", type=Literal["gemo-clap", "gmp-tl", "ems"], help=paper)
    runs = "folders of cross-validations, finished or not; for ems, the folder of one 'gemoclap compare ems'"
    parser.add_argument("runs", nargs="+", help=runs)
    output = "folder for the tables as a page, HTML, CSV, JSON and LaTeX; the page is printed in any case"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)


def add_pretrain_intensity(parser: Parser) -> None:
    parser.usage = "gemoclap pretrain intensity MANIFEST -o RUN [--config YAML ...] [options]"
    add_manifest(parser)
    add_run_folder(parser)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(RankingSettings, "ranking")
    parser.add_class_arguments(IntensityModelSettings, "model")
    parser.add_class_arguments(TrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.set_defaults({"data.dev_speakers": 2})
    parser.hide("data.perturbed_copies", *FOLDS, *SUPERVISED)
    parser.hide_groups()


def add_pretrain_ems(parser: Parser) -> None:
    parser.usage = (
        "gemoclap pretrain ems --speech A,B,... -o RUN [--model.intensity_model DIR] [--config YAML ...] [options]"
    )
    add_run_folder(parser)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    defaults = PretrainSettings(model=PretrainModelSettings(masking="random"))
    speech = "manifests, and folders of audio files, to pre-train on; labels are not used"
    parser.add_argument("--speech", type=list[str], required=True, help=speech)
    leave_out = "corpora and speakers (corpus/speaker) to leave out of pre-training, because a probe will test on them"
    parser.add_argument("--leave_out", type=list[str], default=[], help=leave_out)
    held_out = "share of the utterances that are not trained on; the loss is measured on them after each epoch"
    parser.add_argument("--held_out", type=float, default=defaults.held_out, help=held_out)
    parser.add_class_arguments(AudioSettings, "audio")
    parser.add_class_arguments(PretrainModelSettings, "model")
    parser.add_class_arguments(PretrainTrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide(*SUPERVISED)
    parser.hide_groups()


def add_probe(parser: Parser) -> None:
    parser.usage = "gemoclap probe MANIFEST --encoders A,B,... -o RUN [--config YAML ...] [options]"
    add_manifest(parser)
    add_run_folder(parser)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    encoders = (
        f"encoders to compare: {LOG_MEL} (no encoder), compact and other untrained ones, Hugging Face ids, folders; "
        "NAME=FOLDER sets a name"
    )
    parser.add_argument("--encoders", type=list[str], default=[LOG_MEL], help=encoders)
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(ProbeHeadSettings, "head")
    parser.add_class_arguments(ProbeTrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide("data.perturbed_copies")
    parser.hide_groups()


def add_intensity(parser: Parser) -> None:
    parser.add_argument("model", help="folder of an intensity model, RUN/model of 'gemoclap pretrain intensity'")
    parser.add_argument("audio", help="audio file of any length; silence at its start and end has no intensity")
    parser.add_argument(
        "-o", "--output", type=str | None, default=None, help="CSV or PNG file to write; default: print"
    )
    add_overwrite(parser)


def add_compare_ems(parser: Parser) -> None:
    parser.usage = (
        "gemoclap compare ems --speech A,B,... --intensity_model DIR --probe.manifests A,B,... -o RUN [--config YAML ...] "
        "[options]"
    )
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    parser.add_class_arguments(CompareSettings)
    # --seeds and --lr set these, or a comparison refuses them.
    parser.hide("train.lr", "train.seed", *SUPERVISED, "probe.train.seeds", "probe.train.select")
    parser.hide("finetune.train.seed", "finetune.train.select")
    parser.hide_groups()
