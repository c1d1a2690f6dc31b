const here = document.body.dataset.moment, now = document.body.dataset.now;
if (here) setInterval(async () => {
  try {
    const answer = await fetch(now, { cache: "no-store" });
    if (!answer.ok || (await answer.text()) !== here) location.replace(location.pathname);
  } catch { /* the network is away for a moment */ }
}, 2000);
