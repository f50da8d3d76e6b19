package org.distilltophone.app;

import android.app.Activity;
import android.content.pm.PackageManager;
import android.os.Bundle;
import android.view.View;
import android.view.ViewGroup;
import android.widget.TextView;
import android.widget.Toolbar;
import java.io.IOException;
import java.util.Locale;
import java.util.Map;
import org.distilltophone.core.Gallery;
import org.distilltophone.core.GoldenCheck;
import org.distilltophone.decoder.BitmapDecoder;

/** Shows the app's content and origin, and checks that the model works on this phone. */
public final class AboutActivity extends Activity {
    private static final int MODEL = 4; // the step that depends on the settings
    private static final String CHECKED = "checked";
    private static final String CHECKING = "checking";

    private DemoApp app;
    private boolean checking;
    private ViewGroup facts;

    @Override
    protected void onCreate(Bundle kept) {
        super.onCreate(kept);
        setContentView(R.layout.about);
        setActionBar((Toolbar) findViewById(R.id.bar));
        getActionBar().setDisplayHomeAsUpEnabled(true);
        app = (DemoApp) getApplication();
        facts = findViewById(R.id.facts);
        heading(R.string.about_app);
        fact(getString(R.string.about_app_version), version());
        try {
            model(AppModel.bundle(this));
            gallery(app.gallery());
            provenance(AppModel.bundle(this).provenance());
        } catch (IOException error) {
            fact(getString(R.string.about_model), AppModel.problem(this, error));
        }
        final TextView check = findViewById(R.id.check);
        if (kept != null && kept.getBoolean(CHECKING)) {
            check();
        } else if (kept != null) {
            check.setText(kept.getCharSequence(CHECKED));
        }
        findViewById(R.id.run_check).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                check();
            }
        });
    }

    @Override
    protected void onSaveInstanceState(Bundle kept) {
        super.onSaveInstanceState(kept);
        kept.putBoolean(CHECKING, checking);
        kept.putCharSequence(CHECKED, ((TextView) findViewById(R.id.check)).getText());
    }

    @Override
    public boolean onNavigateUp() {
        finish();
        return true;
    }

    private String version() {
        try {
            return getPackageManager().getPackageInfo(getPackageName(), 0).versionName;
        } catch (PackageManager.NameNotFoundException never) {
            throw new IllegalStateException(never); // it is this app
        }
    }

    private void model(org.distilltophone.core.Bundle bundle) {
        heading(R.string.about_model);
        fact(getString(R.string.about_model_name), bundle.name());
        fact(getString(R.string.about_model_variant), bundle.variant().name);
        fact(getString(R.string.about_model_size), getString(R.string.about_model_bytes, bundle.variant().sizeBytes));
        fact(getString(R.string.about_model_input), getString(R.string.about_model_input_value,
            bundle.preprocessing().inputSize, bundle.preprocessing().resizeSize));
        fact(getString(R.string.about_model_embedding), getString(R.string.about_model_embedding_value, bundle.dimension()));
        fact(getString(R.string.about_model_hash), bundle.variant().sha256);
    }

    private void gallery(Gallery gallery) {
        heading(R.string.about_gallery);
        fact(getString(R.string.about_gallery_count), String.format(Locale.getDefault(), "%d", gallery.count()));
        fact(getString(R.string.about_gallery_model), gallery.model().name + ", " + gallery.model().variant);
    }

    private void provenance(Map<String, String> all) {
        heading(R.string.about_provenance);
        for (Map.Entry<String, String> one : all.entrySet()) {
            String value = one.getValue();
            fact(one.getKey(), value == null || value.isEmpty() ? getString(R.string.about_not_stated) : value);
        }
    }

    private void heading(int words) {
        View row = getLayoutInflater().inflate(R.layout.heading, facts, false);
        ((TextView) row).setText(words);
        facts.addView(row);
    }

    private void fact(String name, String value) {
        View row = getLayoutInflater().inflate(R.layout.fact, facts, false);
        ((TextView) row.findViewById(R.id.fact_name)).setText(name);
        ((TextView) row.findViewById(R.id.fact_value)).setText(value);
        facts.addView(row);
    }

    private void check() {
        final TextView check = findViewById(R.id.check);
        check.setText(R.string.about_check_running);
        checking = true;
        app.worker.execute(new Runnable() {
            @Override
            public void run() {
                final String verdict = verdict();
                runOnUiThread(new Runnable() {
                    @Override
                    public void run() {
                        checking = false;
                        check.setText(verdict);
                    }
                });
            }
        });
    }

    private String verdict() {
        try {
            AppModel model = app.model();
            GoldenCheck done = GoldenCheck.run(model.bundle, model.embedder, new BitmapDecoder());
            String cosine = String.format(Locale.getDefault(), "%.5f", done.smallestCosine);
            String first = done.passed() || done.step == MODEL
                ? getString(done.passed() ? R.string.about_check_passed : R.string.about_check_failed, done.images, cosine,
                    String.valueOf(done.needed), MainActivity.milliseconds(done.nanosEach))
                : getString(R.string.about_check_failed_before, done.problem, done.cure);
            String inputs = done.inputs == 0 ? getString(R.string.about_check_no_inputs)
                : getString(R.string.about_check_inputs, done.equalInputs, done.inputs);
            return first + "\n" + getString(R.string.about_check_pixels, done.equalFiles, done.files) + "\n" + inputs;
        } catch (IOException error) {
            return AppModel.problem(this, error);
        }
    }
}
