"""A datasheet of a zoo that is published, by the headings of Gebru et al., "Datasheets for Datasets" (2021).

What the record of the zoo knows is answered; the rest is left to its maker, and says so.
"""

from jaxzoo.formats.hub_facts import FOR_THE_MAKER, Facts, images_text, listed, versions_text


def datasheet(facts: Facts) -> str:
    """The text of datasheet.md."""
    sections = {
        "Motivation": _motivation(),
        "Composition": _composition(facts),
        "Collection process": _collection(facts),
        "Preprocessing, cleaning and labelling": _preprocessing(facts),
        "Uses": _uses(),
        "Distribution": _distribution(facts),
        "Maintenance": _maintenance(facts),
    }
    parts = [
        f"# Datasheet of {facts.name}\n\nIt follows the headings of Gebru et al., *Datasheets for Datasets* (2021)."
    ]
    for heading, answers in sections.items():
        questions = "\n\n".join(f"**{question}** {answer}" for question, answer in answers.items())
        parts.append(f"## {heading}\n\n{questions}")
    return "\n\n".join(parts) + "\n"


Answers = dict[str, str]


def _motivation() -> Answers:
    return {
        "For what purpose was it made?": FOR_THE_MAKER,
        "Who made it, and for whom?": FOR_THE_MAKER,
        "Who paid for it?": FOR_THE_MAKER,
    }


def _composition(facts: Facts) -> Answers:
    count, states = len(facts.members), len(facts.members) * len(facts.epochs)
    part = "All of the zoo." if count == facts.whole else f"No: {count:,} of the {facts.whole:,} models of the zoo."
    return {
        "What are the instances?": f"Neural networks: {facts.architecture}, {facts.parameters:,} parameters each.",
        "How many are there?": f"{count:,} models, each at epoch {listed(facts.epochs)}: {states:,} states.",
        "Is it everything, or a sample?": part,
        "What does each consist of?": "Its float32 parameters at each of these epochs, its seed and "
        "hyperparameters, and its losses and accuracies on the images for training, validation and testing.",
        "Are there labels?": "The metrics and the hyperparameters serve as such.",
        "Is anything missing?": "Hyperparameters and metrics that are not known are empty.",
        "Are there recommended splits?": "`splits.json` shares the models out to training, validation and test, by "
        "seed where seeds allow that.",
        "Are there errors or noise?": f"{facts.diverged:,} models are not finite at the last epoch; they are kept, and "
        "marked by `finite` in the metrics.",
        "Does it depend on other data?": "The models were trained on images that are not included: "
        f"{images_text(facts)}",
        "Is anything in it confidential, offensive, or about people?": "It has parameters and numbers about them "
        f"alone. Whether the images say something about people: {FOR_THE_MAKER}",
    }


def _collection(facts: Facts) -> Answers:
    if facts.imported is not None:
        how = f"{facts.origin} {FOR_THE_MAKER}"
    else:
        how = f"By training models. {facts.origin} README.md lists the hyperparameters."
    return {
        "How was the data acquired?": how,
        "With what hardware and software?": versions_text(facts) if facts.imported is None else FOR_THE_MAKER,
        "How were models sampled?": "A grid of hyperparameters, with a model for each of its points and seeds."
        if facts.spec is not None
        else FOR_THE_MAKER,
        "When was it made?": FOR_THE_MAKER,
        "Who was involved, and was there an ethical review?": FOR_THE_MAKER,
    }


def _preprocessing(facts: Facts) -> Answers:
    twin = facts.twin
    images = "" if facts.images is None else f" Images were brought to size by {facts.images.fit}, and normalised."
    kept = f"Parameters are as training left them; no model was removed for what it became.{images}"
    return {
        "Was the data preprocessed, cleaned or labelled?": kept if facts.imported is None else FOR_THE_MAKER,
        "Are they sparse?": "No."
        if twin is None
        else f"Yes: they are sparse twins by {twin.method}, and zero where weights were removed.",
        "Is the raw data kept?": "There is none besides.",
        "Is the software available?": "jaxzoo writes and reads this layout.",
    }


def _uses() -> Answers:
    return {
        "What could it be used for?": "To study the weights of neural networks, to predict properties of models from "
        "their weights, and to train models that represent, generate or compress weights.",
        "What has it been used for?": FOR_THE_MAKER,
        "What should one know before using it?": "Models of one seed and initialisation begin as the same weights, and "
        "the states of one model at several epochs are alike: they belong into the same part of a split.",
        "What should it not be used for?": "The networks are small and made for study; no decision about people should "
        "rest on them.",
    }


def _distribution(facts: Facts) -> Answers:
    licence = FOR_THE_MAKER if facts.licence is None else f"{facts.licence}."
    return {
        "How, where and when is it distributed?": FOR_THE_MAKER,
        "Under which licence?": licence,
        "Do others have rights in it, such as in the images?": FOR_THE_MAKER,
    }


def _maintenance(facts: Facts) -> Answers:
    again = "its maker can be asked for the source."
    if facts.digest is not None:
        again = "jaxzoo makes it again from the spec of that digest, and extends it."
    return {
        "Who maintains it, and how is that person reached?": FOR_THE_MAKER,
        "Will it be updated, and are there errata?": FOR_THE_MAKER,
        "Will older versions be kept?": FOR_THE_MAKER,
        "Can others extend it?": f"Yes: {again}",
    }
