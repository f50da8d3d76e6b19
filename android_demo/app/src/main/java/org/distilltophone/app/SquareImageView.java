package org.distilltophone.app;

import android.content.Context;
import android.util.AttributeSet;
import android.widget.ImageView;

/** A square image view, clipped to the rounded corners of its background. */
public final class SquareImageView extends ImageView {
    public SquareImageView(Context context, AttributeSet attributes) {
        super(context, attributes);
        setClipToOutline(true);
    }

    @Override
    protected void onMeasure(int widthSpec, int heightSpec) {
        super.onMeasure(widthSpec, heightSpec);
        setMeasuredDimension(getMeasuredWidth(), getMeasuredWidth());
    }
}
