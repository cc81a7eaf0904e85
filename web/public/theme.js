// Applies the colour theme chosen in the console; without one, the system's holds.
(function () {
  try {
    var theme = localStorage.getItem("streamspace.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; the system's theme holds.
  }
})();
