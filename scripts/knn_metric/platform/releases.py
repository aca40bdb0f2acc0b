"""The released images and command lines, read off the releases: the only home of their versions."""

import re

# The last release of each generation's command line; on Python 3.8.
HS = {2: ("hs==2.4.0", "markupsafe<2.1"), 3: ("hs==3.0.3",)}
# What the images hold before requirements.txt is installed, by release; read off the images.
IMAGES = {
    "2.2.0": ("protobuf==3.11.3", "hydro-serving-grpc==2.1.0rc1", "requests==2.23.0"),
    "2.4.3": (
        "hydrosdk==2.3.2",
        "numpy==1.18.5",
        "pandas==1.0.5",
        "protobuf==3.13.0",
        "hydro-serving-grpc==2.2.1",
    ),
    "3.0.3": (
        "hydrosdk==3.0.3",
        "numpy==1.18.3",
        "pandas==1.1.5",
        "protobuf==3.17.3",
        "hydro-serving-grpc==3.0.3",
    ),
}
# Released images that src/ runs on: first release, last release, Pythons.
RELEASES = (
    ((2, 1, 0), (2, 3, 0), ("3.6",)),
    ((2, 3, 1), (2, 4, 3), ("3.6", "3.7", "3.8")),
    ((3, 0, 0), (3, 0, 3), ("3.7", "3.8")),
)
LAST_WITH_MESSAGES = (2, 3, 0)
PORTS = {2: 9090, 3: 9091}  # that the images of each generation listen on
USUAL_RUNTIME_3X = "hydrosphere/serving-runtime-python-3.7:3.0.3"
# What the runtime does not start without, numpy aside, of which any 1.18 will do.
IMAGE_OWNS = {"grpcio", "hydro-serving-grpc", "hydrosdk", "pandas", "protobuf"}
IMAGE_NUMPY = "1.18.*"
# The last releases that install and run beside numpy 1.18, on each Python.
LAST_BESIDE_NUMPY = {
    "joblib": {"3.6": "1.1.1", "3.7": "1.3.2", "3.8": "1.4.2"},
    "matplotlib": {"3.6": "3.3.4", "3.7": "3.5.3", "3.8": "3.5.3"},
    "numba": {"3.6": "0.53.1", "3.7": "0.56.4", "3.8": "0.56.4"},
    "pyod": {"3.6": "1.0.3", "3.7": "1.0.3", "3.8": "1.0.3"},
    "scikit-learn": {"3.6": "0.24.2", "3.7": "1.0.2", "3.8": "1.3.2"},
    "scipy": {"3.6": "1.5.4", "3.7": "1.7.3", "3.8": "1.8.1"},
    "statsmodels": {"3.6": "0.12.2", "3.7": "0.13.5", "3.8": "0.13.5"},
}
IMAGE = re.compile(r"hydrosphere/serving-runtime-python-(\d\.\d+)(?:\.\d+)?:(\d+\.\d+\.\d+)")


def parse_image(runtime: str) -> tuple[str, tuple[int, ...]]:
    """Return an image's Python and release; '' and the last generation's of any other image."""
    image = IMAGE.fullmatch(runtime)
    return (image[1], tuple(map(int, image[2].split(".")))) if image else ("", (3,))


def gives_messages(runtime: str) -> bool:
    """Tell whether an image hands tensor messages to the function, and has no numpy."""
    return parse_image(runtime)[1] <= LAST_WITH_MESSAGES


def generation_of_image(runtime: str) -> int:
    return parse_image(runtime)[1][0]
