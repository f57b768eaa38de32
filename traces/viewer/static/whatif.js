// A slider beside the field for the acceptable error; without script the field does alone.
"use strict";

for (const slider of document.querySelectorAll("input[data-for]")) {
  const field = document.getElementById(slider.dataset.for);
  slider.closest("label").hidden = false;
  slider.addEventListener("input", () => {
    field.value = slider.value;
  });
  slider.addEventListener("change", () => slider.form.requestSubmit());
  field.addEventListener("input", () => {
    slider.value = field.value;
  });
}
