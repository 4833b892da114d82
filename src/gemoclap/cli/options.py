"""The options of each command, declared from the dataclasses of the settings."""

from __future__ import annotations

from typing import Literal

from jsonargparse.typing import PositiveInt

from gemoclap.cli.arguments import Parser, SettingsFile, flat
from gemoclap.config import (
    BASELINES,
    HEADS,
    METHODS,
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
    LOG_MEL,
    CompareSettings,
    IntensityModelSettings,
    PretrainModelSettings,
    PretrainSettings,
    PretrainTrainSettings,
    ProbeHeadSettings,
    ProbeTrainSettings,
    RankingSettings,
)
from gemoclap.config.paper import PAPER_ENCODERS, paper_settings

RUN_FOLDER = "folder of the run; the same command resumes in it"
SHARED_FOLDER = f"{RUN_FOLDER}, and shares the work if started twice"
BATCH_SIZE = "clips at a time; does not change the result"
SETTINGS_FILE = (
    "YAML of settings, or the name of one that comes with gemoclap, such as whisper; a later file wins over an earlier "
    "one, an option over both"
)
MANIFEST = "JSONL manifest written by 'gemoclap prepare'"
DAILY = {
    *("data.vocabulary", "data.emotions", "data.folds", "data.n_folds", "data.dev_speakers", "ranking.neutral"),
    *("model.audio_encoder", "model.text_encoder", "model.freeze", "model.layers", "model.lora_rank"),
    *("model.encoder", "model.size", "model.masking", "model.intensity_model", "head.layers"),
    *("train.epochs", "train.steps", "train.batch_size", "train.lr", "train.encoder_lr", "train.precision"),
    *("train.select", "train.seed", "train.seeds", "objective.alpha", "gmp.features", "gmp.scales", "gmp.head"),
    *("probe.manifests", "finetune.manifests", "finetune.methods", "cache.folder"),
}
"""The settings that ``--help`` shows; ``--help-all`` shows all of them."""


def add_run_folder(parser: Parser, about: str = RUN_FOLDER) -> None:
    parser.add_argument("-o", "--output", type=str, required=True, help=about)
    add_no_wait(parser)


def add_no_wait(parser: Parser) -> None:
    no_wait = "stop where another command is at work in the folder; without this the command waits until that is done"
    parser.add_argument("--no_wait", action="store_true", help=no_wait)


def add_overwrite(parser: Parser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace the file that -o names, if it is there")


def add_prepare(parser: Parser) -> None:
    corpora = "iemocap, ravdess, emodb, nemo, cremad, synthetic, or emobox, s3prl, audformat, csv"
    parser.add_argument("name", help=corpora)
    parser.add_argument("root", help="the corpus's folder; for emobox, s3prl, audformat and csv their file or folder")
    parser.add_argument("-o", "--output", type=str | None, default=None, help="manifest to write; default NAME.jsonl")
    audio_root = "folder that an imported manifest's paths start from"
    parser.add_argument("--audio_root", type=str | None, default=None, help=audio_root)
    add_overwrite(parser)


def add_inspect(parser: Parser) -> None:
    parser.add_argument("manifest", help="JSONL manifest, or a folder of audio")
    vocabulary = "report labels outside this named set, such as iemocap4"
    parser.add_argument("--vocabulary", type=str | None, default=None, help=vocabulary)
    parser.add_argument("--all", action="store_true", help="print every fault, not the first ten of a kind")
    parser.add_argument("-o", "--output", type=str | None, default=None, help="also write counts and faults as JSON")
    add_overwrite(parser)


def add_convert(parser: Parser) -> None:
    parser.usage = "gemoclap convert MANIFEST emobox|audformat|csv -o OUTPUT [options]"
    parser.add_argument("manifest", help="JSONL manifest")
    parser.add_argument("form", help="emobox (with folds), audformat or csv")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder to write; for csv a file")
    add_overwrite(parser)
    parser.add_class_arguments(DataSettings, "data")
    parser.hide_groups()


def add_manifest(parser: Parser) -> None:
    """The manifest by itself; `arguments.take_manifest` makes it ``data.manifest``, which the help need not show too."""
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
    parser.add_argument("--method", "--methods", type=Literal[TRAINED], default="sl_gemo_clap", help="what to train")
    add_settings(parser)


def add_crossval(parser: Parser) -> None:
    parser.usage = "gemoclap crossval MANIFEST -o RUN [--config YAML ...] [--methods A,B,...] [options]"
    add_manifest(parser)
    add_run_folder(parser)
    methods = f"what to compare, such as emo_clap,egemaps_svm; known: {', '.join((*TRAINED, *BASELINES))}"
    parser.add_argument("--methods", "--method", type=list[str], default=[*METHODS], help=methods)
    parser.add_argument("--keep_models", type=bool, default=True, help="save the model of every fold")
    seeds = "cross-validate with each of these, such as 0,1,2, in RUN/seed_0 and so on, and report all in RUN"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    add_settings(parser)


def add_crosscorpus(parser: Parser) -> None:
    parser.usage = "gemoclap crosscorpus A.jsonl B.jsonl ... -o RUN [--config YAML ...] [--method METHOD] [options]"
    manifests = "manifests; what each is called before .jsonl is its name in the matrix"
    parser.add_argument("manifests", nargs="+", help=manifests)
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    parser.add_argument("--method", "--methods", type=Literal[TRAINED], default="emo_clap", help="what to train")
    keep = "keep the model of every training; false: only until it has been tested"
    parser.add_argument("--keep_models", type=bool, default=True, help=keep)
    seeds = "train with each of these, such as 0,1,2; the matrix has the means"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    add_settings(parser)


def add_table1(parser: Parser) -> None:
    parser.usage = (
        "gemoclap table1 MANIFEST -o RUN [--encoders A,B,...] [--methods A,B,...] [--config YAML ...] [options]"
    )
    add_manifest(parser)
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    encoders = "rows: hub ids or folders; NAME=FOLDER gives a name; model.audio_encoder is not heeded"
    parser.add_argument("--encoders", type=list[str], default=[*PAPER_ENCODERS], help=encoders)
    methods = f"columns; known: {', '.join((*METHODS, *HEADS))}"
    parser.add_argument("--methods", "--method", type=list[str], default=[*METHODS], help=methods)
    seeds = "cross-validate with each of these, such as 0,1,2; the table has the means"
    parser.add_argument("--seeds", type=list[int] | None, default=None, help=seeds)
    keep = "save the model of every fold; about 2 GB each with the paper's encoders"
    parser.add_argument("--keep_models", type=bool, default=False, help=keep)
    parser.add_argument("--estimate", action="store_true", help="say how many hours are left, and do nothing else")
    add_settings(parser)
    parser.set_defaults(dict(flat(paper_settings(), parser.settings())))


def add_gmp_step(parser: Parser) -> None:
    parser.usage = f"{parser.prog} MANIFEST -o RUN [--config YAML ...] [options]"
    output = "folder of the run, the same for all steps, as are the options: --config RUN/config.yaml has them"
    add_manifest(parser)
    add_run_folder(parser, output)
    add_settings(parser)


def add_frames(parser: Parser) -> None:
    run = "folder of a training of gmp_tl, or of a fold of its cross-validation: its clusters speak, not its last model"
    parser.add_argument("run", help=run)
    parser.add_argument("audio", help="audio file, of any length")
    smooth = "seconds over which the emotions of a frame are averaged; 0: each as it is"
    parser.add_argument("--smooth", type=float, default=0.5, help=smooth)
    parser.add_argument("-o", "--output", type=str | None, default=None, help="CSV or PNG to write; default: printed")
    add_overwrite(parser)


def add_report(parser: Parser) -> None:
    parser.add_argument(
        "folder", nargs="+", help="folder of a cross-validation, finished or not; several are set side by side"
    )
    parser.add_argument("-o", "--output", type=str | None, default=None, help="folder for the report of several")
    add_no_wait(parser)


def add_model(parser: Parser) -> None:
    parser.add_argument("--model", type=str, required=True, help="folder of a model, such as RUN/model")


def add_evaluate(parser: Parser) -> None:
    parser.usage = "gemoclap evaluate MANIFEST --model DIR [-o FOLDER] [options]"
    parser.add_argument("manifest", help="labelled JSONL manifest")
    add_model(parser)
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE)
    output = "new folder for predictions, scores and a report"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)


def add_predict(parser: Parser) -> None:
    parser.usage = "gemoclap predict PATH ... --model DIR [-o FILE] [options]"
    paths = "audio files, folders of them, manifests, CSV lists with a column path; of a long clip only its first seconds count"
    parser.add_argument("paths", nargs="+", help=paths)
    add_model(parser)
    parser.add_argument("--labels", type=list[str] | None, default=None, help="choose among these instead: bored,calm")
    parser.add_argument("--batch_size", type=PositiveInt, default=16, help=BATCH_SIZE)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    output = "file to write, .csv, .jsonl or .parquet: a row a clip; a run that was ended goes on in it"
    parser.add_argument("-o", "--output", type=str | None, default=None, help=output)
    add_overwrite(parser)


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
    parser.hide_groups()


def add_pretrain_ems(parser: Parser) -> None:
    parser.usage = (
        "gemoclap pretrain ems --speech A,B,... -o RUN [--model.intensity_model DIR] [--config YAML ...] [options]"
    )
    add_run_folder(parser)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    defaults = PretrainSettings(model=PretrainModelSettings(masking="random"))
    speech = "manifests, and folders of audio files; labels are not looked at"
    parser.add_argument("--speech", type=list[str], required=True, help=speech)
    leave_out = "corpora and speakers (corpus/speaker) not to hear: those that a probe will test on"
    parser.add_argument("--leave_out", type=list[str], default=[], help=leave_out)
    held_out = "share of the utterances whose loss is measured after each epoch and not learnt from"
    parser.add_argument("--held_out", type=float, default=defaults.held_out, help=held_out)
    parser.add_class_arguments(AudioSettings, "audio")
    parser.add_class_arguments(PretrainModelSettings, "model")
    parser.add_class_arguments(PretrainTrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide_groups()


def add_probe(parser: Parser) -> None:
    parser.usage = "gemoclap probe MANIFEST --encoders A,B,... -o RUN [--config YAML ...] [options]"
    add_manifest(parser)
    add_run_folder(parser)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    encoders = f"{LOG_MEL} (no encoder), compact and other untrained ones, hub ids, folders; NAME=FOLDER gives a name"
    parser.add_argument("--encoders", type=list[str], default=[LOG_MEL], help=encoders)
    parser.add_class_arguments(DataSettings, "data")
    parser.add_class_arguments(ProbeHeadSettings, "head")
    parser.add_class_arguments(ProbeTrainSettings, "train")
    parser.add_class_arguments(CacheSettings, "cache")
    parser.hide_groups()


def add_intensity(parser: Parser) -> None:
    parser.add_argument("model", help="folder with an intensity model: RUN/model of 'gemoclap pretrain intensity'")
    parser.add_argument("audio", help="audio file, of any length; silence at its head and tail has no intensity")
    parser.add_argument("-o", "--output", type=str | None, default=None, help="CSV or PNG to write; default: printed")
    add_overwrite(parser)


def add_compare_ems(parser: Parser) -> None:
    parser.usage = (
        "gemoclap compare ems --speech A,B,... --intensity_model DIR --probe.manifests A,B,... -o RUN [--config YAML ...] "
        "[options]"
    )
    parser.add_argument("-o", "--output", type=str, required=True, help=SHARED_FOLDER)
    parser.add_argument("--config", action=SettingsFile, help=SETTINGS_FILE)
    parser.add_class_arguments(CompareSettings)
    parser.hide_groups()
