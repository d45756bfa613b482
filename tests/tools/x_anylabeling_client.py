"""X-AnyLabeling's own client of remote servers, without its window; its environment runs this.

It reads what to ask as JSON from standard input, and writes what came to standard output:

    {"settings": {"server_url": …, "api_key": …}, "directory": …, "model": …,
     "requests": [{"picture": path, "marks": […], "slider": null or the position of its slider}, …]}
"""

import contextlib
import json
import os
import sys
from types import SimpleNamespace

from anylabeling import config
from anylabeling.services.auto_labeling.remote_server import RemoteServer
from anylabeling.views.labeling.widgets.auto_labeling import AutoLabelingWidget
from PyQt6.QtWidgets import QApplication


def factor_of(slider):
    """What the window gives to its client when the slider of the mask's fineness is moved."""
    given = []
    window = SimpleNamespace(
        mask_fineness_value_label=SimpleNamespace(setText=lambda text: None),
        model_manager=SimpleNamespace(set_mask_fineness=given.append),
        mask_fineness_changed=SimpleNamespace(emit=lambda factor: None),
    )
    AutoLabelingWidget.on_mask_fineness_changed(window, slider)
    (factor,) = given
    return factor


def main():
    asked = json.load(sys.stdin)
    application = QApplication([])
    messages = []
    # What it logs would be among the answer otherwise.
    with contextlib.redirect_stdout(sys.stderr):
        config.set_work_directory(asked["directory"])
        config.current_config_file = os.path.join(asked["directory"], "configuration.yaml")
        with open(config.current_config_file, "w") as file:
            json.dump({"remote_server_settings": asked["settings"]}, file)
        client = RemoteServer(
            {
                "type": "remote_server",
                "name": "remote-server",
                "display_name": "Remote-Server",
                "provider": "CVHub",
                "timeout": 300,
            },
            messages.append,
        )
        answer = {"url": client.server_url, "models": client.get_available_models()}
        client.set_model_id(asked["model"])
        answer["answers"] = answers = []
        for request in asked["requests"]:
            if request["slider"] is not None:
                client.set_mask_fineness(factor_of(request["slider"]))
            client.set_auto_labeling_marks(request["marks"])
            found = client.predict_shapes(object(), request["picture"])
            answers.append(
                {
                    "factor": client.epsilon_factor,
                    "shapes": [
                        {
                            "label": shape.label,
                            "shape_type": shape.shape_type,
                            "score": shape.score,
                            "points": [[point.x(), point.y()] for point in shape.points],
                        }
                        for shape in found.shapes
                    ],
                    "replace": found.replace,
                }
            )
        answer["messages"] = messages
    json.dump(answer, sys.stdout)
    application.quit()


main()
