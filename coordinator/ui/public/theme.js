// Before the first paint: the look that was chosen, if it differs from the system's.
try {
  const look = localStorage.getItem("warren.theme");
  if (look === "light" || look === "dark") document.documentElement.dataset.theme = look;
} catch {}
